"""The interface of `image.pickling`: all that other packages need to pickle and unpickle.

`dump` and `loading` are for a TAP, `states` and `state_loader` for the journal.
"""

from tapd.image.evolution.versions import Restoration
from tapd.image.loss import Loss, Placeholder
from tapd.image.pickling.dump import Dump, detached_finder, dump_graph
from tapd.image.pickling.loading import load_graph
from tapd.image.pickling.state_loader import StartOver, StateLoader, load_class
from tapd.image.pickling.states import StateDump, StatePickler, class_reference

__all__ = [
    "Dump", "Loss", "Placeholder", "Restoration", "StartOver",
    "StateDump", "StateLoader", "StatePickler",
    "class_reference", "detached_finder", "dump_graph", "load_class", "load_graph",
]  # fmt: skip
