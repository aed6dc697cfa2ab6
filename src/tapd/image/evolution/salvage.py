"""Loads a graph despite failing objects; each becomes a stand-in that keeps its saved form.

The C unpickler stops at the first exception, and one changed constructor of a library is enough
for that. Then this unpickler reads the same bytes again. It is written in Python, some twenty
times slower, and each of its steps may fail by itself.

An object that can't be created becomes a stand-in at once. An object that fails later (its
state can't be set, or it can't be hashed) is referred to by others and may have a part of its
state. So the number of the step that created it is noted. When everything is read, the graph is
thrown away and read again, with a stand-in created in that step. Each round notes at least one
more step, so this ends.
"""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Callable
from typing import Any, Protocol

from tapd.errors import UpgradeRefused
from tapd.image import hooks
from tapd.image.bare import bare_object, object_setattr, value_base
from tapd.image.evolution import stand_ins
from tapd.image.evolution.stand_ins import Broken, reason_of
from tapd.image.loss import Placeholder
from tapd.model.durable.persistent import Tracked, is_durable_type

_log = logging.getLogger(__name__)

_base: Any = pickle._Unpickler  # noqa: SLF001 - pickle's own in Python, whose stack can be seen
_NO_CODE = frozenset({str, int, bytes, float, bool, type(None), list})
_NAMERS = frozenset({"named", "durable_class", "value_class"})
_FINISHERS = frozenset({"finish_graph", "finish_deep_graph", "finish_nested_graph"})
_FRAME_HEAD_BYTES = 9


class Queue(Protocol):
    """Sets the states of durable objects."""

    def give_late(self, *, is_last: bool) -> bool:
        """Set the states that had to wait; return whether any could be set."""


def _yes(_container: Any) -> bool:
    return True


class Faults:
    """Known failures in one pickle, so that the next round does not try them again.

    Attributes:
        steps: the reason, by the number of the step that creates the object.
        durable_steps: those of them that create durable objects.
        queued: the reason, by position in the queue of states.
        sink: takes a plain object of that queue whose state can't be set, with the
            reason; None for the C unpickler, which does not know the object's step.
        grew: whether this round found a new failure.
        is_filled: tells whether a container has all its entries.
        queue: the current queue of states.
    """

    def __init__(self) -> None:
        self.steps: dict[int, str] = {}
        self.durable_steps: set[int] = set()
        self.queued: dict[int, str] = {}
        self.sink: Callable[[Any, str], None] | None = None
        self.grew = False
        self.is_filled: Callable[[Any], bool] = _yes
        self.queue: Queue | None = None

    @property
    def count(self) -> int:
        """How many failures are known."""
        return len(self.steps) + len(self.durable_steps) + len(self.queued)

    def note_queued(self, place: int, reason: str) -> None:
        """Note that the state at this position of the queue can't be set."""
        self.queued[place] = reason
        self.grew = True


class Salvager(_base):  # type: ignore[misc]  # its base has no types
    """An unpickler whose every step may fail by itself."""

    dispatch = dict(_base.dispatch)

    def __init__(
        self,
        data: bytes,
        find: Callable[[str, str], Any],
        persistent_load: Callable[[Any], Any],
        faults: Faults,
        resolve: Callable[[int], Any] | None = None,
    ) -> None:
        """Begin.

        Args:
            data: the pickle.
            find: returns the object of a module name and a qualified name.
            persistent_load: returns the object of a persistent id.
            faults: the known failures; new ones are added.
            resolve: returns the durable object of a number; such objects are not created
                here.
        """
        self._bytes = io.BytesIO(data)
        super().__init__(self._bytes)
        self.persistent_load = persistent_load
        self.faults = faults
        self.unhashable: list[Any] = []
        """Objects found by number that can't be hashed any more."""
        self._find = find
        self._resolve = resolve
        self._step = 0
        self._made: dict[int, int] = {}
        self._held: list[Any] = []  # ids are only good while their objects live
        self._names: dict[int, str] = {}
        self._durable_names: set[int] = set()
        self._late_keys: dict[int, list[Any]] = {}
        self._keys: dict[int, frozenset[Any]] = {}
        self._is_last = False
        self._waiting: dict[int, tuple[Callable[..., None], Any, list[Any]]] = {}

    def find_class(self, module_name: str, qualname: str) -> Any:
        """Return a class or function by name."""
        return self._name(self._find(module_name, qualname), module_name, qualname)

    def _name(self, found: Any, module_name: Any, qualname: Any) -> Any:
        self._held.append(found)
        self._names[id(found)] = f"{module_name}:{qualname}"
        return found

    def load(self) -> Any:
        """Return the graph; discard it if `faults` grew."""
        faults = self.faults
        faults.sink, faults.is_filled = self._fail, self._is_filled
        try:
            root = super().load()
            # Each state that is set may make a key hashable, and each filled container may allow
            # a state: repeat until nothing moves, then fail what is left.
            while self._put_waiting(is_last=False) or self._give_late(is_last=False):
                pass
            self._put_waiting(is_last=True)
            self._give_late(is_last=True)
        finally:
            faults.sink, faults.is_filled, faults.queue = None, _yes, None
        return root

    def _is_filled(self, container: Any) -> bool:
        return id(container) not in self._waiting

    def _give_late(self, *, is_last: bool) -> bool:
        queue = self.faults.queue
        return queue is not None and queue.give_late(is_last=is_last)

    def _put_waiting(self, *, is_last: bool) -> bool:
        """Insert entries that waited for a hash; return whether a container became complete."""
        self._is_last = is_last
        before = len(self._waiting)
        for key, (put, container, items) in list(self._waiting.items()):
            while items:
                try:
                    self._enter(put, container, items[0])
                    put(container, items[0])
                except BaseException as error:
                    hooks.check_load(error)
                    if not is_last:
                        break
                    self._fail_item(put, container, items[0], reason_of(error))
                items.pop(0)
            else:
                del self._waiting[key]
        return len(self._waiting) < before

    # -- creating objects ------------------------------------------------------------

    def _make(self, make: Callable[[], Any], maker: Any, args: Any, **kept: Any) -> Any:
        """Create an object, or a stand-in for it."""
        self._step = step = self._step + 1
        reason = self.faults.steps.get(step)
        if reason is None:
            try:
                hooks.enter(maker)
                made = make()
            except BaseException as error:
                hooks.check_load(error)
                reason = f"making it failed: {reason_of(error)}"
        if reason is not None:
            made = self._stand_in(step, maker, args, reason, **kept)
        self._made[id(made)] = step
        self._held.append(made)
        return made

    def _stand_in(self, step: int, maker: Any, args: Any, reason: str, **kept: Any) -> Any:
        if maker is bare_object and args:  # creates a durable object
            maker, args, kept = args[0], (), {"called": False}
        if is_stand_in_type(maker):  # its class can't be found, which is reported elsewhere
            return maker(*args) if kept["called"] else maker.__new__(maker, *args)
        name = self._names.get(id(maker), "")
        is_class = issubclass(type(maker), type)
        if step in self.faults.durable_steps or (
            not kept["called"] and is_class and self._was_durable(maker)
        ):
            cls = (
                stand_ins.broken_durable_type(name, reason)
                if name
                else stand_ins.broken_durable_type_of(maker)
            )
            return bare_object(cls)
        # Keep names as names: the object of that name today may be pickled differently.
        args = tuple(self._by_name(arg) for arg in args)
        made = stand_ins.broken_object(name, maker, args, kept.get("kwargs", {}),
                                       called=kept["called"])  # fmt: skip
        made._p_broken["reason"] = reason
        return made

    def _was_durable(self, cls: Any) -> bool:
        """Whether instances of `cls` were durable when they were saved."""
        return id(cls) in self._durable_names or (
            is_durable_type(cls)
            and (id(cls) not in self._names or cls.__module__.startswith("tapd."))
        )

    def _by_name(self, arg: Any) -> Any:
        """Return `arg`; if it was found by name, a stand-in class that is saved by that name."""
        name = self._names.get(id(arg))
        if name is None or is_stand_in_type(arg):
            return arg
        is_durable = id(arg) in self._durable_names
        return (stand_ins.broken_durable_type if is_durable else stand_ins.broken_type)(name)

    def _load_reduce(self) -> None:
        args = self.stack.pop()
        make = self.stack[-1]
        name = getattr(make, "__name__", "")
        if make is self._resolve or (name in _FINISHERS and id(make) in self._names):
            self.stack[-1] = make(*args)
        elif name in _NAMERS and make.__module__ == "tapd.image.evolution.names":
            self.stack[-1] = found = self._name(make(*args), *args[:2])
            if name == "durable_class":
                self._durable_names.add(id(found))
        # A setter: ``REDUCE`` followed by ``POP`` sets a state and creates nothing.
        elif len(args) == 2 and id(args[0]) in self._made and self._is_thrown_away():
            self.stack[-1] = None
            self._set(args[0], make, args[1])
        else:
            self.stack[-1] = self._make(lambda: make(*args), make, args, called=True)

    def _is_thrown_away(self) -> bool:
        """Whether the next opcode is POP, so that the call only sets a state."""
        frame = self._unframer.current_frame
        if frame is not None:
            at = frame.tell()
            opcode = frame.read(1)
            frame.seek(at)
            if opcode:
                return bool(opcode == pickle.POP)
        at = self._bytes.tell()
        ahead = self._bytes.read(_FRAME_HEAD_BYTES + 1)
        self._bytes.seek(at)
        if ahead[:1] == pickle.FRAME:
            ahead = ahead[_FRAME_HEAD_BYTES:]
        return ahead[:1] == pickle.POP

    def _load_newobj(self) -> None:
        args = self.stack.pop()
        cls = self.stack.pop()

        def make() -> Any:
            if issubclass(type(cls), type) and is_durable_type(cls):
                if issubclass(cls, Tracked) and not self._was_durable(cls):
                    raise TypeError("it was no container when it was saved")
                return bare_object(cls)
            if not args and issubclass(type(cls), type) and (base := value_base(cls)):
                raise TypeError(f"it was no kind of {base} when it was saved")
            return stand_ins.new_object(cls, *args)

        self.append(self._make(make, cls, args, called=False))

    def _load_newobj_ex(self) -> None:
        kwargs = self.stack.pop()
        args = self.stack.pop()
        cls = self.stack.pop()
        self.append(
            self._make(
                lambda: stand_ins.new_object_with(cls, args, kwargs),
                cls,
                args,
                kwargs=kwargs,
                called=False,
            )
        )

    def _load_frozenset(self) -> None:
        items = self.pop_mark()
        self._name(frozenset, "builtins", "frozenset")
        made = self._make(lambda: frozenset(items), frozenset, (items,), called=True)
        if type(made) is not frozenset:
            self._late_keys[id(made)] = items
        self.append(made)

    def _key(self, key: Any) -> Any:
        """Return the actual key: a frozenset may have waited until its items could be hashed.

        Raises:
            BaseException: they can't be hashed yet.
        """
        items = self._late_keys.get(id(key))
        if items is None:
            return key
        try:
            return self._keys.setdefault(id(key), frozenset(items))
        except BaseException as error:
            hooks.check_load(error)
            if self._is_last:
                return key
            raise

    def _put_pair(self, container: Any, pair: tuple[Any, Any]) -> None:
        container[self._key(pair[0])] = pair[1]

    def _put_member(self, container: Any, member: Any) -> None:
        container.add(self._key(member))

    # -- setting states and items ----------------------------------------------------------

    def _load_build(self) -> None:
        state = self.stack.pop()
        self._set(self.stack[-1], _set_state, state)

    def _set(self, obj: Any, setter: Callable[[Any, Any], None], state: Any) -> None:
        """Set the state of `obj` by `setter`."""
        if issubclass(type(obj), Broken):
            if setter is _set_state:
                obj.__setstate__(state)
            elif getattr(setter, "__name__", "") == "set_durable":
                self._turn_durable(obj)
            else:
                obj.broken_set(setter, state)
            return
        if type(obj) is Placeholder:
            return
        try:
            hooks.enter(obj)
            setter(obj, state)
        except BaseException as error:
            hooks.check_load(error)
            self._fail(obj, f"its state can't be set: {reason_of(error)}")

    def _fail(self, obj: Any, reason: str) -> None:
        """Note that `obj` must be a stand-in in the next round."""
        if issubclass(type(obj), Broken):
            self._turn_durable(obj)
            return
        step = self._made.get(id(obj))
        if step is None:
            raise UpgradeRefused(
                f"loading: {type(obj).__qualname__} can't be given what was saved ({reason}); "
                "go back to the code that saved it"
            )
        self.faults.steps.setdefault(step, reason)
        self.faults.grew = True

    def _turn_durable(self, stand_in: Any) -> None:
        """Note that the next round needs a durable stand-in here, not a plain one."""
        step = self._made[id(stand_in)]
        self.faults.steps.setdefault(step, stand_in.broken_reason)
        self.faults.durable_steps.add(step)
        self.faults.grew = True

    def _fail_item(self, put: Any, container: Any, item: Any, reason: str) -> None:
        """Note which object is to blame that `item` can't be put into `container`."""
        cls = type(container)
        keyed = (item[0],) if put == self._put_pair else (item,) if issubclass(cls, set) else ()
        culprits = unhashable_in(keyed)
        if not culprits and id(container) in self._made and cls not in (dict, set, list):
            self._fail(container, f"an item can't be put back: {reason}")
            return
        for each in culprits or keyed or (item,):
            if id(each) in self._made:
                self._fail(each, f"it can't be a key: {reason}")
            elif is_durable_type(type(each)) or (self._resolve is not None and keyed):
                self.unhashable.append(each)
            else:
                self._fail(container, f"an item can't be put back: {reason}")

    def _enter(self, put: Any, container: Any, item: Any) -> None:
        """Announce whose code runs, if any, when `item` is put into `container`."""
        if hooks.announce is None:
            return
        called = container
        if type(container) in (dict, set):
            called = item[0] if put == self._put_pair else item
        if type(called) not in _NO_CODE:
            hooks.enter(called)

    def _each(self, items: Any, put: Callable[[Any, Any], None]) -> None:
        container = self.stack[-1]
        if type(container) is Placeholder:
            return
        waiting = self._waiting.get(id(container))
        for item in items:
            if waiting is None:
                try:
                    self._enter(put, container, item)
                    put(container, item)
                    continue
                except BaseException as error:  # it may become hashable later
                    hooks.check_load(error)
                    waiting = self._waiting[id(container)] = put, container, []
            waiting[2].append(item)  # later items wait too: the order is part of the state

    def _load_setitems(self) -> None:
        items = self.pop_mark()
        self._each(zip(items[::2], items[1::2], strict=True), self._put_pair)

    def _load_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._each([(key, value)], self._put_pair)

    def _load_additems(self) -> None:
        self._each(self.pop_mark(), self._put_member)

    def _load_appends(self) -> None:
        self._append_all(self.pop_mark())

    def _load_append(self) -> None:
        self._append_all([self.stack.pop()])

    def _append_all(self, items: list[Any]) -> None:
        container = self.stack[-1]
        if getattr(type(container), "takes_portions", False):
            container.extend(items)
        else:
            self._each(items, lambda container, item: container.append(item))

    dispatch[pickle.FROZENSET[0]] = _load_frozenset
    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.NEWOBJ[0]] = _load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = _load_newobj_ex
    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.ADDITEMS[0]] = _load_additems
    dispatch[pickle.APPENDS[0]] = _load_appends
    dispatch[pickle.APPEND[0]] = _load_append


def is_stand_in_type(maker: Any) -> bool:
    """Whether `maker` is a class of stand-ins."""
    return issubclass(type(maker), type) and issubclass(maker, stand_ins.STAND_INS)


def _set_state(obj: Any, state: Any) -> None:
    """Do what opcode BUILD does; if that fails, set whatever has a place in `obj`.

    Raises:
        BaseException: the author's code raised it, or there is no place.
    """
    setstate = getattr(obj, "__setstate__", None)
    if setstate is not None:
        setstate(state)
        return
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if state:
        if type(state) is not dict:
            raise TypeError(f"it is a {type(state).__name__}, and there is no __setstate__")
        attributes = getattr(obj, "__dict__", None)
        if attributes is None:
            slots = {**state, **(slots or {})}
        else:
            attributes.update(state)
    for name, value in (slots or {}).items():
        try:
            setattr(obj, name, value)
        except Exception:  # a frozen class refuses any assignment
            object_setattr(obj, name, value)


def unhashable_in(key: Any) -> list[Any]:
    """Return the parts of `key` whose own hash fails."""
    if type(key) in (tuple, frozenset):
        return [found for part in key for found in unhashable_in(part)]
    try:
        hooks.enter(key)
        hash(key)
    except BaseException as error:
        hooks.check_load(error)
        return [key]
    return []
