"""Recognizes plain classes, whose instances consist of just their ``__dict__``.

Runs no code of the class.
"""

from __future__ import annotations

import copyreg
import types
from typing import Any

from tapd.image import hooks
from tapd.image.bare import HEAP_TYPE
from tapd.image.reduction import library_types as strangers

_GETSET = types.GetSetDescriptorType
_VALUES = (int, str, bytes, float, complex, tuple, frozenset)


def has_usual_hash(cls: Any) -> bool:
    """Whether hashing a `cls` instance needs none of its state."""
    return cls.__hash__ is object.__hash__ or cls.__hash__ is None


def is_hashed_by_author(cls: Any) -> bool:
    """Whether `cls` has a ``__hash__`` in Python, which may need its state."""
    return type(cls.__hash__) is types.FunctionType


def _own_names(cls: type) -> set[str]:
    """Return the names defined by the Python classes among the bases of `cls`."""
    return {name for base in cls.__mro__ if base.__flags__ & HEAP_TYPE for name in base.__dict__}


def is_plain_type(cls: type) -> bool:
    """Whether an instance of `cls` is saved as its ``__dict__``, without running its code."""
    try:
        return (
            cls not in strangers.reducers
            and strangers.lost_reason(cls) is None
            and strangers.reducer_by_base(cls) is None
            and is_plain(cls)
            and not is_odd(cls)
        )
    except BaseException as error:  # raised by a hook of its metaclass
        hooks.check(error, nests=False)
        return False


def is_plain(cls: Any) -> bool:
    """Whether an instance of `cls` is its ``__dict__`` and nothing else."""
    return (
        cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and cls.__getstate__ is object.__getstate__
        and cls.__getattribute__ is object.__getattribute__
        and cls.__basicsize__ <= object.__basicsize__ + 16
        and cls.__dictoffset__ != 0
        and cls not in copyreg.dispatch_table
        and not hasattr(cls, "__getnewargs__")
        and not hasattr(cls, "__getnewargs_ex__")
        and not hasattr(cls, "__setstate__")
        and all(
            base is object
            or (
                base.__flags__ & HEAP_TYPE
                and not (base.__dict__.keys() & {"__reduce_cython__"})
                and not base.__dict__.get("__slots__")
                and type(base.__dict__.get("__dict__")) in (_GETSET, type(None))
            )
            for base in cls.__mro__
        )
    )


def is_odd(cls: type) -> bool:
    """Whether a `cls` instance would notice or mislead pickle's attribute look-ups."""
    own = _own_names(cls)
    return hasattr(cls, "__getattr__") or "__class__" in own or "__getattribute__" in own


def base_value(cls: type) -> Any:
    """Return the builtin that `cls` derives from, if `cls` defines its own ``__new__``."""
    own = _own_names(cls)
    if "__new__" not in own or "__getnewargs__" in own:
        return None
    return next((base for base in _VALUES if issubclass(cls, base)), None)
