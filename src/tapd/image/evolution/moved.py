"""Maps old names of moved tapd modules to the current ones, so that old TAPs load.

A name in a pickle or journal is looked up under the current name (`names.renamed`). Importing
an old name, for instance of a module in a namespace, gives the new module.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

_MOVES = (
    (
        "tapd.image", "tapd.store",
        (
            "tapfile files layout lock key retention adoption snapshot store=generations "
            "reset reports=snapshot"
        ),
    ),
    ("tapd.host", "tapd.store", "state"),
    ("tapd.image", "tapd.store.journal", "journal=file journal_damage=damage sync_mark aside"),
    ("tapd.net", "tapd.store.journal", "records"),
    ("tapd.host", "tapd.store.journal", "journals=chain"),
    ("tapd.image", "tapd.inspection", "inspection=graph preview stubs secrecy comparison"),
    (
        "tapd.image", "tapd.image.evolution",
        (
            "evolution=versions names stand_ins keeping=replacement salvage "
            "collecting=registry generated=dataclass_states"
        ),
    ),
    (
        "tapd.image", "tapd.image.code",
        (
            "source class_text executed=exec_eval rewritten=generated type_variables "
            "definitions enums old_classes classes code_parts"
        ),
    ),
    (
        "tapd.image", "tapd.image.reduction",
        (
            "kinds arrays named_values strangers=library_types mutability "
            "plain=plain_classes rebuild instances proof=checks parts reductions reducer"
        ),
    ),
    (
        "tapd.image", "tapd.image.likeness",
        (
            "anatomy matching showing=summary differences likeness=graphs"
        ),
    ),
    (
        "tapd.image", "tapd.image.pickling",
        (
            "graph deep=deep_graph dump loading states deep_states state_loader "
            "shared=shared_objects memo pickler"
        ),
    ),
    (
        "tapd.image", "tapd.image.tracking",
        (
            "jar commit changes census=classification conversion looks=contents "
            "fingerprint watching=polling whereabouts=locator settling=clean_marks "
            "class_records replay strict"
        ),
    ),
    ("tapd.services.telnet", "tapd.wire.telnet", "codec options_machine=negotiation wire=layer"),
    ("tapd.services.telnet", "tapd.wire.terminal", "terminal=keys editor"),
    ("tapd.services.irc", "tapd.wire", "proxy addresses"),
    ("tapd.model", "tapd.model.durable", "persistent heaps namespace"),
    ("tapd.model", "tapd.model.protocols", "partial lines frames requests"),
    ("tapd.model", "tapd.model.access", "accounts seal peers"),
    ("tapd.net", "tapd.net.streams", "kernel backlog burst stream hosted datagrams building crowd"),
    (
        "tapd.net", "tapd.net.turn",
        (
            "runtime fair_queue listener outbound connections commit careful turn "
            "recovery dead_turn"
        ),
    ),
    ("tapd.net", "tapd.net", "telling=rate_limit"),
    ("tapd.host", "tapd.host.manager", "manager notify_socket child by_hand binding"),
    ("tapd.host", "tapd.host.prompt", "prompt completion paste console interrupts streams"),
    ("tapd.host", "tapd.host.saving", "saving=schedule checkpoint audit audit_part"),
    (
        "tapd.services.irc", "tapd.services.irc.conduct",
        (
            "session admission flood presence registration login identity membership "
            "reservation playback markers=playback audit checking allowance=admission"
        ),
    ),
    ("tapd.services.irc.commands", "tapd.services.irc.conduct", "table=command_table"),
    ("tapd.services.irc.commands", "tapd.services.irc.commands", "gateway=connection"),
    ("tapd.services.irc", "tapd.services.irc", "network=service"),
    (
        "tapd.services.irc", "tapd.services.irc.settings",
        (
            "guard_settings=guards people_settings=people settings=server"
        ),
    ),
    (
        "tapd.services.irc", "tapd.services.irc.state",
        (
            "user channel accounts bans limits fronts grants history monitor whowas opers "
            "multiline sasl"
        ),
    ),
    (
        "tapd.services.irc", "tapd.services.irc.wire",
        (
            "message numerics names masks modes mode_changes capabilities delivery "
            "isupport cloak"
        ),
    ),
    ("tapd.host", "tapd.host.sleep", "asleep=file idle"),
    ("tapd.host", "tapd.host", "broken=crash copies=own_forks"),
    ("tapd.testing", "tapd.testing", "ends=peers leftovers=module_globals"),
    ("tapd.model", "tapd.model", "places=source_location"),
)  # fmt: skip
"""Old package, new package, modules; ``old=new`` where the module's name changed, too."""


def _read_moves() -> dict[str, str]:
    modules = {}
    for old_package, new_package, names in _MOVES:
        for each in names.split():
            old, _equals, new = each.partition("=")
            modules[f"{old_package}.{old}"] = f"{new_package}.{new or old}"
    return modules


MOVED = _read_moves()
"""The current name of each moved module, by its old name."""

_NAMES = (
    (
        "tapd.model.persistent", "tapd.model.durable.tracked",
        "TrackedBytearray TrackedDeque TrackedDict TrackedList TrackedSet",
    ),
    ("tapd.services.irc.flood", "tapd.services.irc.state.limits", "WaitingRoom"),
)  # fmt: skip
"""Old module, new module, classes and functions, where their module did not move as a whole."""

MOVED_NAMES = {
    f"{old}:{name}": f"{new}:{name}" for old, new, names in _NAMES for name in names.split()
}
"""Today's ``module:name`` of what has moved by itself, by the old one; these come first."""


def todays_name(module: str, name: str) -> str:
    """Return the ``module:name`` of today of what `module` of an earlier tapd had."""
    return MOVED_NAMES.get(f"{module}:{name}") or f"{MOVED.get(module, module)}:{name}"


class _Finder:
    """Imports a moved module by its old name, unless another module has that name now."""

    @staticmethod
    def find_spec(
        name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for a module's old name, else None (`importlib.abc.MetaPathFinder`)."""
        return ModuleSpec(name, cast(Any, _Finder)) if name in MOVED else None

    @staticmethod
    def create_module(_spec: ModuleSpec) -> None:
        """Let the import system create a module; `exec_module` replaces it."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Register the current module under the old name."""
        sys.modules[module.__name__] = importlib.import_module(MOVED[module.__name__])


def install() -> None:
    """Make old names importable."""
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)
