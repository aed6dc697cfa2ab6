"""The hooks of an author that a load runs, and states whose objects have them."""

from __future__ import annotations

from typing import Any

from evolving import Evolving, Life

USUAL = """
class T({base}):
    def __init__(self):
        self.a, self.b = 1, [2]
    def __eq__(self, other): return self is other
    def __hash__(self): return id(self)
"""

HOOKS = {
    "__setstate__": " def __setstate__(self, state):\n  self.a = 7\n  raise {error}",
    "__new__": " def __new__(cls, *args): raise {error}",
    "__new__ that wants arguments": " def __new__(cls, a): raise {error}",
    "__hash__": " def __hash__(self): raise {error}",
    "__hash__ and __eq__": " def __hash__(self): return 1\n def __eq__(self, other): raise {error}",
    "__setattr__": " def __setattr__(self, name, value): raise {error}",
    "__getattribute__": " def __getattribute__(self, name):\n"
    "  if name[:1] != '_' or name == '__setstate__': raise {error}\n"
    "  return super().__getattribute__(name)",
    "__getattr__": " def __getattr__(self, name): raise {error}",
    "__getstate__": " def __getstate__(self): raise {error}",
    "__init_subclass__": " def __init_subclass__(cls): raise {error}",
    "__del__": " def __del__(self): raise {error}",
    "__repr__": " def __repr__(self): raise {error}\n def __setstate__(self, state): raise {error}",
    "__class__": " @property\n def __class__(self): raise {error}",
    "__dict__": " @property\n def __dict__(self): raise {error}",
    "__bool__": " def __bool__(self): raise {error}\n def __len__(self): raise {error}",
    "__reduce_ex__": " def __reduce_ex__(self, protocol): raise {error}",
}


class Holder:
    """A plain object."""


AT_SAVE = {"__getstate__", "__getattribute__", "__reduce_ex__", "__class__", "__dict__"}
"""Hooks that a save runs, too: what they cost then is another question (`test_hooks`)."""


def with_hook(base: str, hook: str, error: str) -> str:
    text = HOOKS[hook].format(error=error)
    usual = USUAL.format(base=base)
    if "__eq__" in text or "__hash__" in text:
        usual = usual.partition("    def __eq__")[0]
    return usual + "\n".join(f"   {line}" for line in text.splitlines())


def fill(root: Any, module: Evolving) -> None:
    root.before = "before"
    root.one = module.evaluate("T()")
    root.inside = [root.one, {"it": root.one}]
    root.keys = {root.one: 1, "after": 2}
    root.held = Holder()
    root.held.it = root.one
    root.after = "after"


def lives(module: Evolving, text: str) -> dict[str, Life]:
    """Return processes that differ in what brings the object."""
    module.install(text)
    changed = module.begin(lambda root: fill(root, module), in_journal=False)
    changed.root.one.a = 2
    changed.root.one.b.append(3)
    changed.root.inside.append("more")
    changed.commit()
    return {
        "a TAP": module.begin(lambda root: fill(root, module), in_journal=False),
        "a new object of a journal": module.begin(lambda root: fill(root, module), in_journal=True),
        "a changed object of a journal": changed,
    }
