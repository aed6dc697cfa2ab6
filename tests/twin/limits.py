"""What programs are not made of, and why: the limits that remain, one by one.

docs/promises.md names each. `LEFT_OUT` is asked by those who write programs; a program
of each in `tests/twin/limits` still differs, so a limit that ended is taken out of here.
"""

from __future__ import annotations

LEFT_OUT: dict[str, str] = {
    "a base class's method": "dict.update(items, x=1) or list.append(items, 1) reaches a tracked "
    "container past the method that reports; the next audit finds it",
    "deleted of what __new__ sets": "an object whose class has __getnewargs__ is made by its "
    "__new__ again, as pickle does it, and has what that sets",
    "a slot's name in __dict__": "an attribute that is in __dict__ under the name of a slot, "
    "which hides it, comes back in the slot",
    "a frozenset that its member holds": "where a member's hash needs the state that the frozenset "
    "is in, neither can be made before the other; it is kept and named; as a key it is found again",
    "attrs at a prompt": "attrs compiles the methods of a class under a file name of its own; a "
    "class of it that was typed is named as lost at once: import it from a module",
    "object.__setattr__ of a durable": "Python refuses it (TypeError) where a class in C has a "
    "__setattr__ of its own; so a frozen dataclass can't derive from Persistent",
}
"""What is left out, with the reason."""

NOT_COMPARED: dict[str, str] = {
    "the class of a container": "type(self.items) is TrackedList, a list; so is its repr in part",
    "identity of values": "numbers, texts, bytes, tuples and methods are compared by value",
    "order of a set": "a set's order is that of addresses, in plain Python, too",
    "iterators of itertools": "programs have none: Python 3.14 can't save them; tapd names them",
    "volatile attributes": "names that begin with _v_ are no state",
    "a lock that is held": "it comes back unlocked: its holder ended with the process",
}
"""What is no difference here, with the reason."""


def is_left_out(what: str) -> bool:
    """Whether programs do without this."""
    return what in LEFT_OUT
