"""Records of objects that can't be saved, and the placeholders that replace them.

Promise 5: one bad object never costs the others. It is replaced by a `Placeholder`, which knows
its type, its path in the graph and the reason.
"""

from __future__ import annotations

from typing import Any, NoReturn

from tapd.errors import LostObject
from tapd.values import Value


class Loss(Value):
    """One object that was replaced by a placeholder.

    Attributes:
        path: where it was, such as ``application.services['telnet'].x``.
        type_name: ``module.Class`` of the lost object.
        reason: why it can't be saved.
    """

    path: str
    type_name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} ({self.type_name}): {self.reason}"


class Placeholder:
    """Takes the place of an object that could not be saved.

    Any use but `repr`, comparison and truth raises `LostObject`. It can be saved again.
    """

    __slots__ = ("__weakref__", "loss")

    loss: Loss

    def __init__(self, path: str, type_name: str, reason: str) -> None:
        object.__setattr__(self, "loss", Loss(path, type_name, reason))

    def __reduce__(self) -> tuple[Any, ...]:
        loss = self.loss
        return Placeholder, (loss.path, loss.type_name, loss.reason)

    def __repr__(self) -> str:
        loss = self.loss
        return f"<lost: {loss.path}, a {loss.type_name}: {loss.reason}>"

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        loss = self.loss
        raise LostObject(
            f"{loss.path} was a {loss.type_name} that could not be saved "
            f"({loss.reason}); make it anew and assign it"
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # a protocol check must get a plain no
        self._refuse()

    __setattr__ = __delattr__ = _refuse
    __call__ = __iter__ = __next__ = __len__ = __contains__ = _refuse
    __getitem__ = __setitem__ = __delitem__ = _refuse
    __enter__ = __exit__ = __aenter__ = __aexit__ = __await__ = __aiter__ = __anext__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __int__ = __float__ = __index__ = __neg__ = _refuse


def type_name_of(cls: type) -> str:
    """Return ``module.Class`` of a class, whatever its metaclass does."""
    try:
        module = type.__getattribute__(cls, "__module__")
        name = type.__getattribute__(cls, "__qualname__")
    except Exception:
        return type.__repr__(cls)
    return f"{name}" if module == "builtins" else f"{module}.{name}"
