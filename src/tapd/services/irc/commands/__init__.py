"""The commands, by subject. Importing its modules fills the table.

All modules are found and imported automatically, so a new one needs no line elsewhere.
"""

from __future__ import annotations

import importlib
import pkgutil


def load_commands() -> None:
    """Import every module of this package."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
