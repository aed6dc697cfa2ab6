"""Rejects callbacks that a turn can't call: coroutine functions and generators.

A turn calls plain methods. An ``async def`` in their place would return a coroutine
that nobody runs, and a generator would never start.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from tapd.errors import AuthorError

_SUSPENDS = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR

INSTEAD = (
    "a turn runs plain methods, and what they wait for must be state: write `def`, start slow work "
    "with application.run_blocking or run_coroutine, and go on in its callback; for "
    "existing asyncio code there is AsyncioService"
)


def kind_of_function(function: Any) -> str:
    """Return why `function` can't be a callback, from its definition; "" if it can."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(function, "__code__", None)
    flags = code.co_flags if inspect.iscode(code) else 0
    if flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        return "async def"
    return "a generator" if flags & _SUSPENDS else ""


def check_overrides(cls: type) -> None:
    """Check that a turn can call the methods of tapd that `cls` overrides.

    Raises:
        AuthorError: a method is ``async def``, or contains a ``yield``.
    """
    for name, value in vars(cls).items():
        if not inspect.isfunction(value) or not (kind := kind_of_function(value)):
            continue
        for base in cls.__mro__[1:]:
            overridden = vars(base).get(name)
            if (
                inspect.isfunction(overridden)
                and not kind_of_function(overridden)
                and base.__module__.startswith("tapd.")  # not an author's own base
            ):
                where = f"{cls.__module__}.{cls.__qualname__}.{name}"
                raise AuthorError(f"{where} is {kind}, so it can't be durable: {INSTEAD}")


def check_callback(what: str, function: Callable[..., Any]) -> None:
    """Check that a turn can call `function`; `image` checks whether it can be saved.

    Raises:
        AuthorError: it is no function, or is a coroutine function or a generator.
    """
    if not callable(function):
        raise AuthorError(f"{what}: {function!r} can't be called; give the method, without ()")
    kind = kind_of_function(function)
    if kind:
        raise AuthorError(f"{what}: {function!r} is {kind}: {INSTEAD}")
