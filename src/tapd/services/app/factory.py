"""Finds and calls an author's factory, with one-line messages for its errors.

An author's code runs here, called by the person who makes a TAP. So every exception
becomes a message that names the author's own lines and none of ours.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib
import inspect
import pkgutil
import sys
import sysconfig
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tapd.errors import AuthorError, TapdError, UsageError
from tapd.model.application import Application
from tapd.model.callbacks import kind_of_function
from tapd.model.hosted import AsyncioService
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.model.source_location import describe_origin
from tapd.values import Value

_EXAMPLE = "write MODULE:FACTORY, as in mypackage.mymodule:make_application"


class Target(Value):
    """The requested factory.

    Attributes:
        module: its dotted name.
        attribute: the factory's dotted name within it.
    """

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


def parse_target(text: str) -> Target:
    """Parse ``MODULE:FACTORY``.

    Raises:
        UsageError: it is malformed.
    """
    module, colon, attribute = text.partition(":")
    if "/" in module or module.endswith(".py"):
        name = Path(module).stem
        raise UsageError(
            f"{text!r}: {module} is a file's name; name the module instead and, where it is not "
            f"in the current directory, --path: {name}:{attribute or 'make_application'}"
        )
    names = [*module.split("."), *attribute.split(".")] if colon else []
    if not names or not all(name.isidentifier() for name in names):
        raise UsageError(f"{text!r} names no factory; {_EXAMPLE}")
    if module == "__main__":
        raise UsageError(
            f"{text!r}: what is defined in __main__ is not found again by the server, which has "
            f"another one; put it into a module; {_EXAMPLE}"
        )
    return Target(module, attribute)


# --- finding ------------------------------------------------------------------------


def load_factory(target: Target) -> Any:
    """Import the module of `target` and return the object that it names there.

    Raises:
        UsageError: the module, or the name in it, does not exist.
        AuthorError: the module can't be imported.
    """
    module = _import(target.module)
    found: Any = module
    for name in target.attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(
                f"{target}: {target.module} ({_file_of(module)}) has no {name}; "
                + _hint(name, _own_callables(found))
            ) from None
    return found


def _import(name: str) -> ModuleType:
    """Import `name`, one package at a time, so that a message can name the missing one."""
    parts = name.split(".")
    module: ModuleType | None = None
    for count in range(1, len(parts) + 1):
        part = ".".join(parts[:count])
        before = module
        try:
            module = importlib.import_module(part)
        except ModuleNotFoundError as error:
            if error.name == part:
                raise UsageError(_describe_missing(name, part, before)) from None
            raise AuthorError(
                f"importing {part}: it imports {error.name!r}, which is not installed for "
                f"{sys.executable}{describe_origin(error)}"
            ) from error
        except TapdError as error:
            raise AuthorError(f"importing {part}: {error}{describe_origin(error)}") from error
        except (Exception, SystemExit) as error:
            raise AuthorError(f"importing {part}: {_describe_error(error)}") from error
    assert module is not None
    return module


def _describe_missing(name: str, part: str, package: ModuleType | None) -> str:
    which = "" if name == part else f" (of {name})"
    wanted = part.rpartition(".")[2]
    if package is None:
        path: Iterable[str] = sys.path
        where = f"looked in {', '.join(entry or 'the current directory' for entry in sys.path)}"
        advice = "give the directory that holds it as --path, or install it"
    elif hasattr(package, "__path__"):
        path = package.__path__
        where = f"looked in the package {package.__name__} at {', '.join(path)}"
        advice = "mind the spelling"
    else:
        return f"there is no module {part}{which}: {package.__name__} is a module and no package"
    found = {module.name for module in pkgutil.iter_modules(list(path))}
    names = sorted(found if package is not None else found - sys.stdlib_module_names)
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.7)
    if close:
        return f"there is no module {part}{which}; did you mean {close[0]}?"
    return f"there is no module {part}{which}; {advice} ({where})"


def _own_callables(holder: Any) -> list[str]:
    """Return the names of the callables defined in `holder`."""
    module = getattr(holder, "__module__", getattr(holder, "__name__", ""))
    return [
        name
        for name, value in vars(holder).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", "") == module
    ]


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"it has {', '.join(known)}" if known else "it defines nothing that can be called"


def _file_of(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "a namespace package"


# --- errors of the author's code ----------------------------------------------------


def _describe_error(error: BaseException) -> str:
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        text = (error.text or "").strip()
        return f"{kind}: {error.msg} ({error.filename}:{error.lineno}: {text})"
    said = f"{kind}: {error}" if str(error) else kind
    return said + describe_origin(error)


# --- calling ------------------------------------------------------------------------


def code_directories(target: Target, before: set[str]) -> list[Path]:
    """Return the directories of the modules that making `target` imported.

    Args:
        target: the factory.
        before: the names of the modules that had been imported before.
    """
    top = target.module.partition(".")[0]
    names = {top} | {name.partition(".")[0] for name in sys.modules.keys() - before}
    directories: dict[Path, None] = {}
    for name in sorted(names):
        module = sys.modules.get(name)
        if paths := list(getattr(module, "__path__", ())):
            directories.update({Path(path).absolute().parent: None for path in paths})
        elif file := getattr(module, "__file__", None):
            directories[Path(file).absolute().parent] = None
    return list(directories)


def is_on_usual_path(directory: Path) -> bool:
    """Whether every Python of this machine has `directory` on its path."""
    if sys.prefix != sys.base_prefix:
        return False  # a virtual environment's packages are its own
    paths = sysconfig.get_paths()
    usual = {Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    distribution = Path("/usr/lib/python3/dist-packages")
    local = Path(f"/usr/local/lib/python3.{sys.version_info.minor}/dist-packages")
    return directory.resolve() in {*usual, distribution, local}


def make_from(
    target: Target, application: Application, options: Mapping[str, str]
) -> Service | Application:
    """Call the factory that `target` names; return the service or application it makes.

    Args:
        target: names a function, a class of services, a service or an application.
        application: given to a factory whose first parameter has that name.
        options: for its other parameters, as typed.

    Raises:
        UsageError: it can't be found, or it has no such options.
        AuthorError: it can't be imported, raises, or makes something else.
    """
    factory = load_factory(target)
    if isinstance(factory, Application | Service):
        if options:
            raise UsageError(f"{target} is {factory!r} and takes no --option; name a factory")
        return check_made(target, factory)
    if not callable(factory):
        raise AuthorError(
            f"{target} is {_describe(factory)}; name a function that returns a Service"
        )
    if kind := kind_of_function(factory):
        raise AuthorError(
            f"{target} is {kind}: it runs once, while the TAP is made, and nothing awaits it; "
            "write a plain `def`, and connect or wait in Service.start or a timer"
        )
    if isinstance(factory, type) and issubclass(factory, Protocol):
        raise AuthorError(_protocol_advice(target, factory))
    arguments, keywords = bind_options(target, factory, application, options)
    try:
        made = factory(*arguments, **keywords)
        if isinstance(made, type) and issubclass(made, Service) and made is not Service:
            made = made()
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise AuthorError(f"{target} raised {_describe_error(error)}") from error
    return check_made(target, made)


def check_made(target: Target, made: Any) -> Service | Application:
    """Check that `made` is a service or an application whose classes can be imported again.

    Raises:
        AuthorError: it is not; the message says what to write instead.
    """
    if isinstance(made, type) and issubclass(made, Protocol):
        raise AuthorError(_protocol_advice(target, made))
    if isinstance(made, asyncio.BaseProtocol):
        raise AuthorError(
            f"{target} returned {_describe(made)}; host it: return AsyncioService(FACTORY), where "
            "FACTORY makes one for each connection"
        )
    if not isinstance(made, Application | Service):
        hint = "forgot its `return`?" if made is None else "return a Service or an Application"
        raise AuthorError(f"{target} returned {_describe(made)}; {hint}")
    if isinstance(made, Application) and "services" not in made.__dict__:
        raise AuthorError(
            f"{target}: {type(made).__qualname__}.__init__ has not made an application of it; "
            "write super().__init__(NAME) at its beginning"
        )
    services = made.services.values() if isinstance(made, Application) else [made]
    for service in services:
        if isinstance(service, AsyncioService):
            service.check_factory()
        for cls in (type(service), service.protocol):
            if isinstance(cls, type):  # no factory of protocols
                _check_class(target, cls)
    return made


def _protocol_advice(target: Target, protocol: type) -> str:
    name = protocol.__qualname__
    return (
        f"{target} gives the protocol class {name}, and a connection is one part of a server: "
        f"write `class My(Service): protocol = {name}` and return My()"
    )


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    return f"a {type(value).__qualname__}"


def _check_class(target: Target, cls: type) -> None:
    """Check that `cls` can be imported under its name, by which a TAP refers to it."""
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not cls or cls.__module__ == "__main__":
        raise AuthorError(
            f"{target}: the class {cls.__module__}.{cls.__qualname__} is not found again under "
            "that name, by which a TAP knows it; define it at the top of a module"
        )


# --- options ------------------------------------------------------------------------


def parse_options(texts: Iterable[str]) -> dict[str, str]:
    """Parse each ``KEY=VALUE``.

    Raises:
        UsageError: one is malformed, or a key is given twice.
    """
    options: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key.isidentifier():
            raise UsageError(f"--option {text!r}: write KEY=VALUE")
        if key in options:
            raise UsageError(f"--option {key}: given twice")
        options[key] = value
    return options


def bind_options(
    target: Target,
    factory: Callable[..., Any],
    application: Application,
    options: Mapping[str, str],
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments for `factory`: the application where it takes one, and `options`.

    Options are its named parameters, and become what their annotations say (str, int,
    float, bool or pathlib.Path; without an annotation, what the default is).

    Raises:
        UsageError: an option is unknown, missing or of the wrong kind.
    """
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # a class in C has no signature
        return [], dict(options)
    hints = _hints(factory)
    parameters = dict(signature.parameters)
    arguments: list[Any] = []
    first = next(iter(parameters.values()), None)
    if first is not None and (first.name == "application" or hints.get(first.name) is Application):
        del parameters[first.name]
        arguments.append(application)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    problems = [
        f"--option {key}: {target} has no such parameter; "
        + (f"did you mean {close[0]}?" if (close := difflib.get_close_matches(key, named, n=1))
           else f"it has {', '.join(named) or 'none'}")
        for key in options
        if key not in named and not takes_any
    ]  # fmt: skip
    problems += [
        f"{target} needs --option {name}=VALUE"
        for name, parameter in named.items()
        if parameter.default is parameter.empty and name not in options
    ]
    if problems:
        raise UsageError("; ".join(problems))
    keywords = {
        key: _convert(key, value, _kind(named.get(key), hints.get(key)))
        for key, value in options.items()
    }
    return arguments, keywords


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    function = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    try:
        return typing.get_type_hints(function)
    except Exception:  # a name imported for type checking only: the default tells the kind
        return {}


def _kind(parameter: inspect.Parameter | None, hint: Any) -> type:
    kinds = [kind for kind in (*typing.get_args(hint), hint) if kind in _CONVERSIONS]
    if kinds:
        return typing.cast("type", kinds[0])
    default = None if parameter is None else parameter.default
    return type(default) if type(default) in _CONVERSIONS else str


def _parse_bool(text: str) -> bool:
    if text.lower() in ("1", "yes", "true", "on"):
        return True
    if text.lower() in ("0", "no", "false", "off"):
        return False
    raise ValueError(text)


_CONVERSIONS: dict[type, tuple[Callable[[str], Any], str]] = {
    str: (str, "text"),
    bool: (_parse_bool, "yes or no"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    Path: (Path, "a path"),
}


def _convert(key: str, text: str, kind: type) -> Any:
    convert, what = _CONVERSIONS[kind]
    try:
        return convert(text)
    except ValueError:
        raise UsageError(f"--option {key}={text}: write {what}") from None
