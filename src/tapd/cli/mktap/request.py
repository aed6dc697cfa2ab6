"""The parsed command line of `tapd-mktap TYPE`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tapd.cli.mktap.dropins import UnitOptions
from tapd.cli.mktap.plan import Plan
from tapd.model.server_type import ServerType

_SELECTING = frozenset({"name", "directory", "now", "dry_run"})
"""Options that say which server and when: alone they change nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A parsed command line.

    Attributes:
        server_type: of the new service.
        options: the type's own, by parameter name.
        name: of the application, or with `append` of the service; "" for the type's.
        ports: as typed.
        append: the TAP to add to.
        directory: where the TAP goes, instead of being installed.
        now: enable and start it; of a running server, allow what clients notice.
        dry_run: only print what would be written.
        force: set an existing TAP aside.
        given: all options that were typed, by parameter name.
        units: options of its units.
    """

    server_type: ServerType
    options: Mapping[str, Any]
    name: str = ""
    ports: tuple[str, ...] = ()
    append: Path | None = None
    directory: Path | None = None
    now: bool = False
    dry_run: bool = False
    force: bool = False
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    units: UnitOptions = dataclasses.field(default_factory=UnitOptions)

    @property
    def given_to_type(self) -> dict[str, Any]:
        """Those of the type's own options that were typed."""
        return {name: value for name, value in self.given.items() if name in self.options}

    def is_change(self, plan: Plan) -> bool:
        """Whether the server of `plan` exists, and this request changes something in it."""
        if self.append is not None or self.force or not os.path.lexists(plan.tap_path):
            return False
        # A removed server keeps its TAP; its units are made anew.
        has_units = all(path.exists() for path in plan.texts)
        return not has_units or bool(set(self.given) - _SELECTING)
