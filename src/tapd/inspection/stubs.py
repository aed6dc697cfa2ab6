"""Unpickles any pickle into inert stubs, without importing or calling anything.

Every name in the pickle becomes a class that only stores what it is given. So a hostile TAP can
be examined, and one whose code is not installed.

The functions that TAPs call while they load (in `image`: setting states, creating typed
classes, finding renamed ones) are imitated here on stubs.
"""

from __future__ import annotations

import contextlib
import gc
import io
import pickle
from collections.abc import Callable, Iterator
from typing import IO, Any, Self

from tapd.errors import TapDamaged
from tapd.image.evolution.moved import todays_name
from tapd.linux.memory import limit_address_space, restore_address_space

_OWN = "tapd.image."
_FINISHERS = {"finish_graph": 2, "finish_deep_graph": 2, "finish_nested_graph": 3}
"""Functions that the pickle of a whole TAP calls last, with their number of arguments."""
_MAKERS = {
    "new_object": 1, "bare_object": 1, "value_object": 2, "enum_member": 1, "named_tuple": 2,
    "typed_member": 1,
}  # fmt: skip
"""Functions that create an instance of their first argument; where its own arguments begin."""
_MEMORY_MIN_BYTES = 512 << 20
_MEMORY_PER_BYTE = 256  # an empty set is one byte of a pickle, and takes 232
_CONTAINERS: dict[str, Callable[[], Any]] = {"list": list, "dict": dict, "set": set}


class StubType(type):
    """The class of all stub classes: it records which of them were called like functions.

    Attributes:
        reference: ``module:name`` in the pickle.
        own_name: the name alone, for functions that TAPs call in `image`; else "".
        called: whether a load would call it, not only create plain instances.
        made_of: the arguments of a class that was typed at a prompt.
        class_state: the attributes of such a class.
    """

    reference: str
    own_name: str
    called: bool
    made_of: tuple[Any, ...] | None
    class_state: Any

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        cls.called = True  # by REDUCE; NEWOBJ does not come here
        if cls.own_name in ("bare_class", "make_class") and len(args) > 5:
            return new_stub_type(f"{args[5]}:{args[4]}", args)
        if cls.own_name in _MAKERS and args and type(args[0]) is StubType:
            made: Any = args[0]
            return made.__new__(made, *args[_MAKERS[cls.own_name] :])
        if cls.own_name.startswith("set_") and len(args) == 2:
            give_by(cls.own_name, *args)
        bare = _BARE_MAKERS.get(cls.own_name)
        if bare is not None and args and type(args[0]) is StubType:
            make: Any = args[0].__new__
            return make(args[0], *args[bare:])
        return super().__call__(*args, **kwargs)

    def __repr__(cls) -> str:
        return f"<stubs of {cls.reference!a}>"


def new_stub_type(reference: str, made_of: tuple[Any, ...] | None = None) -> StubType:
    """Return a new class of stubs for `reference`."""
    fields = {
        "__slots__": (),
        "reference": reference,
        "own_name": reference.rpartition(":")[2] if reference.startswith(_OWN) else "",
        "called": False,
        "made_of": made_of,
        "class_state": None,
    }
    return StubType("Stub", (Stub,), fields)


def give_state(obj: Any, state: Any) -> None:
    """Set the state on a stub that the object itself would get."""
    if isinstance(obj, Stub):
        obj.state = state
    elif type(obj) is StubType:
        obj.class_state = state


_BARE_MAKERS = {"new_object": 1, "new_bare": 1, "value_object": 2}
"""Functions that create instances without constructors; where their arguments begin."""
_BY_KEY = frozenset({"builtins:dict", "collections:OrderedDict", "collections:defaultdict"})


def give_by(setter: str, obj: Any, state: Any) -> None:
    """Set a state in the form that the function named `setter` takes."""
    if setter == "set_durable" and type(state) is tuple:
        state = state[-1]  # the first is its number
    elif setter in ("set_parts", "set_told") and type(state) is tuple and len(state) in (3, 4):
        base, contents, *rest = state
        _give_contents(obj, base, contents)
        if setter == "set_parts":
            attributes, slots = rest
            state = attributes if slots is None else (attributes, slots)
        else:
            state = rest[0]
    give_state(obj, state)


def _give_contents(obj: Any, base: Any, contents: Any) -> None:
    """Set the contents of a builtin, in the forms of `kinds`; unknown forms stay as they are."""
    if not isinstance(obj, Stub) or contents is None:
        return
    name = base.reference if type(base) is StubType else ""
    if name == "collections:defaultdict" and type(contents) is tuple and len(contents) == 2:
        obj.args, contents = (*obj.args, contents[0]), contents[1]
    if name in _BY_KEY and type(contents) is list and len(contents) % 2 == 0:
        for key, value in zip(contents[::2], contents[1::2], strict=True):
            obj[key] = value
    elif type(contents) is list:
        obj.extend(contents)
    elif type(contents) is dict:  # an exception's
        for name, value in contents.items():
            obj[name] = value
    else:
        obj.args = (*obj.args, *(contents if type(contents) is tuple else (contents,)))


class _Namer:
    """Imitates the functions by which a TAP refers to names that were missing when it was saved."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[str, str], StubType]) -> None:
        self._find = find

    def __call__(self, module_name: Any, qualname: Any, _base: Any = None) -> StubType:
        return self._find(str(module_name), str(qualname))

    def __setstate__(self, state: Any) -> None:
        """Ignore the state that a hostile pickle tries to set."""


class Stub(metaclass=StubType):
    """Represents an object; keeps what the pickle gives it.

    Attributes:
        args: its constructor arguments.
        items: appended or added items.
        entries: items set by key, as pairs.
        state: the last state set.
    """

    __slots__ = ("args", "entries", "items", "state")
    reference = own_name = ""
    called = False
    made_of = None
    class_state = None

    args: tuple[Any, ...]
    items: list[Any] | None
    entries: list[tuple[Any, Any]] | None
    state: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Create one; NEWOBJ calls only this."""
        self = object.__new__(cls)
        self.args = (*args, kwargs) if kwargs else args
        self.items = self.entries = self.state = None
        return self

    def __call__(self, *args: Any) -> Stub:
        """Be called, such as a function typed at a prompt that creates an object."""
        return _Result(self, *args)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def extend(self, items: list[Any]) -> None:
        """Take items (opcode APPENDS)."""
        if self.items is None:
            self.items = []
        self.items.extend(items)

    def append(self, item: Any) -> None:
        """Take an item (opcodes APPEND and ADDITEMS)."""
        self.extend([item])

    add = append

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.entries is None:
            self.entries = []
        self.entries.append((key, value))

    def __repr__(self) -> str:
        return f"<stub of {type(self).reference!a}>"


class _Result(Stub):
    """The result of calling a stub; its first argument is the stub."""

    __slots__ = ()
    reference = "(result)"


class StubFinder:
    """Makes an unpickler harmless: it finds a stub for every name.

    Attributes:
        stubs: those found so far, by ``module:name``.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)  # type: ignore[call-arg]  # of the unpickler that comes next
        self.stubs: dict[str, StubType] = {}
        self._made: dict[tuple[str, int], Any] = {}

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return the stub of a name."""
        reference = todays_name(module_name, global_name)
        stub = self.stubs.get(reference)
        if stub is None:
            stub = self.stubs[reference] = new_stub_type(reference)
        if stub.own_name in ("named", "durable_class", "value_class"):
            return _Namer(self.find_class)
        return stub

    def persistent_load(self, pid: Any) -> Any:
        """Return a stub for a persistent id."""
        if type(pid) is tuple and len(pid) == 2 and type(pid[0]) is str and type(pid[1]) is int:
            make = _CONTAINERS.get(pid[0])
            if make is not None:
                return self._made.setdefault(pid, make())
        return self.find_class("pickle", "persistent reference")(pid)


class _StubUnpickler(StubFinder, pickle.Unpickler):
    """Reads a whole pickle."""


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Turn the garbage collector off: nothing being built is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def memory_bounded(pickle_bytes: int) -> Iterator[None]:
    """Make allocations beyond the needs of a pickle of that size fail with MemoryError.

    A few bytes can request all memory: a memo entry with a large number (opcodes PUT and
    LONG_BINPUT) creates a table of that length. The limit is for the whole process
    (setrlimit(2), RLIMIT_AS), so use this in commands, not in servers.
    """
    before = limit_address_space(_MEMORY_MIN_BYTES + _MEMORY_PER_BYTE * pickle_bytes)
    try:
        yield
    finally:
        restore_address_space(before)


def read_stubs(data: bytes | memoryview, source: str) -> tuple[Any, dict[str, StubType]]:
    """Read a pickle, which may be hostile; return its root and the names it refers to.

    Raises:
        TapDamaged: it is not a readable pickle.
    """
    unpickler = _StubUnpickler(io.BytesIO(data))
    try:
        with collector_paused(), memory_bounded(len(data)):
            root = unpickler.load()
            if isinstance(root, Stub) and type(root).own_name in _FINISHERS:
                root = _give_states(root)
    except (Exception, MemoryError) as error:
        raise TapDamaged(
            f"{source}: its pickle can't be read ({type(error).__name__}: {error}); it is not one"
            " that tapd made"
        ) from error
    return root, unpickler.stubs


def _give_states(finish: Stub) -> Any:
    """Set the states of objects, as `rebuild.finish_graph` and its kin do."""
    if len(finish.args) != _FINISHERS[type(finish).own_name]:
        raise ValueError("its end makes no sense")
    root, queue = finish.args[-2:]
    items = queue.items if isinstance(queue, Stub) else queue
    each = iter(items or ())
    rest = []
    for obj, meta, state in zip(each, each, each, strict=True):
        if type(meta) is StubType and meta.own_name == "fill_container":
            _fill(obj, state)
        else:
            rest.append((obj, meta, state))
    for obj, meta, state in rest:  # which may read a container
        if type(meta) is not StubType:
            give_state(obj, state)
        elif meta.own_name == "set_whole":
            _give_whole(obj, state)
        else:
            give_by(meta.own_name, obj, state)
    return root


def _give_whole(obj: Any, whole: Any) -> None:
    """Do what `rebuild.set_whole` does."""
    if isinstance(obj, Stub) and type(whole) is tuple and len(whole) == 4:
        state, items, entries, setter = whole
        if items:
            obj.extend(list(items))
        for key, value in entries:
            obj[key] = value
        give_by(setter.own_name if type(setter) is StubType else "", obj, state)


def _fill(container: Any, contents: Any) -> None:
    """Fill a container, as `rebuild.fill_container` does."""
    if type(container) is list:
        container.extend(contents)
    elif type(container) in (dict, set):
        container.update(contents)
