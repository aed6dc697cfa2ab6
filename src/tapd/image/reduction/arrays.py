"""Pickles numpy arrays; arrays that share memory share it after a load, too."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from tapd.errors import CannotKeep


def array_view(
    base: Any, shape: Any, dtype: Any, offset: int, strides: Any, writeable: bool | None = None
) -> Any:
    """Return a numpy array on a part of another array's memory. Part of the format."""
    numpy = importlib.import_module("numpy")
    was_writeable = base.flags.writeable
    if writeable:  # its base became read-only later
        base.flags.writeable = True
    array = numpy.ndarray(
        shape, dtype, base if base.flags.c_contiguous else base.T, offset, strides
    )
    base.flags.writeable = was_writeable
    if writeable is False:
        array.flags.writeable = False
    return array


def owned_array(data: bytes, shape: Any, dtype: Any, order: Any, writeable: bool) -> Any:
    """Return a numpy array with memory of its own. Part of the format."""
    numpy = importlib.import_module("numpy")
    array = numpy.ndarray(shape, dtype, data, order=order).copy(order)
    array.flags.writeable = writeable
    return array


def reduce_array(obj: Any) -> tuple[Any, ...]:
    """Reduce a numpy array; a view stays a view."""
    base = obj.base
    if base is None or type(base) in _BUFFERS:
        if _is_shown_elsewhere(base):
            raise CannotKeep("an array that shows the memory of a bytearray; keep array.copy()")
        if obj.dtype.hasobject:
            return obj.__reduce__()  # type: ignore[no-any-return]  # by pickle's protocol
        # numpy's own reduction creates a view of a hidden array, or sets the memory later.
        order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
        made = obj.tobytes(order), obj.shape, obj.dtype, order, obj.flags.writeable
        return owned_array, made
    if type(base) is not type(obj):
        raise CannotKeep(
            f"an array that shows the memory of a {type(base).__name__}; keep array.copy()"
        )
    flags = base.flags
    if (
        not (flags.c_contiguous or flags.f_contiguous)
        or obj.dtype.hasobject
        or not (base.base is None or type(base.base) in _BUFFERS)
    ):
        raise CannotKeep("a view of an array that has gaps or holds objects; keep view.copy()")
    offset = obj.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return array_view, (base, obj.shape, obj.dtype, offset, obj.strides, obj.flags.writeable)


_BUFFERS = (bytes, bytearray, memoryview)
"""Types whose memory arrays in old TAPs may share."""


def _is_shown_elsewhere(base: Any) -> bool:
    """Whether another object shares an array's memory, where its owner is not an array."""
    owner = base.obj if type(base) is memoryview else base
    return type(owner) is bytearray and sys.getrefcount(owner) > _OWN_REFERENCES


_OWN_REFERENCES = 3
"""The array's base, `owner` above, and the argument of the call."""
