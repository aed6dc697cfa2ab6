"""Base of small frozen values, for modules that every start imports.

A dataclass generates and compiles the source of its methods in every process. That takes
some 0.4 ms per class, or 19 ms for the classes of a start, while a client waits. A `Value`
inherits the same methods. So there are three forms of a value:

- `Value`, in a module that a start imports (`tests/host/test_start.py` checks that).
- ``dataclasses.dataclass(frozen=True, slots=True)``, in all others, such as those of the
  commands and the embedded manager: it has slots, and tools know it.
- `typing.NamedTuple`, if it serves as a tuple: many are kept, in durable state or in
  memory, or made on a hot path (a tuple is made in C, and pickled by its values), or
  callers unpack it.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, NoReturn, Self, dataclass_transform


@dataclass_transform(frozen_default=True)
class Value:
    """A frozen value with the fields that its class annotates, in that order.

    The class attribute is a field's default. Values of one class with equal fields are
    equal, and have the same hash. Subclasses of subclasses add no fields.
    """

    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Take the fields from the class body."""
        if names := inspect.get_annotations(cls):
            cls.__match_args__ = tuple(names)  # type: ignore[misc]  # mypy makes them itself

    def __init__(self, *values: Any, **named: Any) -> None:
        """Set the fields.

        Raises:
            TypeError: a field without a default is missing, or there is no such field.
        """
        names = self.__match_args__
        if named or len(values) != len(names):
            values = self._complete(values, named)
        self.__dict__.update(zip(names, values, strict=True))

    def _complete(self, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        cls = type(self)
        rest = cls.__match_args__[len(values) :]
        try:
            given = [named.pop(name) if name in named else getattr(cls, name) for name in rest]
        except AttributeError as error:
            raise TypeError(f"{cls.__qualname__} needs a value for {error.name!r}") from None
        if named or len(values) > len(cls.__match_args__):
            wrong = ", ".join(named) or f"more than {len(cls.__match_args__)} values"
            raise TypeError(f"{cls.__qualname__} does not take {wrong}")
        return (*values, *given)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with the named fields replaced."""
        return type(self)(**{**self.__dict__, **changes})

    def as_dict(self) -> dict[str, Any]:
        """Return the fields' values by name."""
        return dict(self.__dict__)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__qualname__} is frozen: {name!r} can't be assigned")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__qualname__} is frozen: {name!r} can't be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__qualname__}({fields})"
