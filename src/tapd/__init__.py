"""tapd: a systemd-native host for Python servers whose whole self is a file."""

from __future__ import annotations

__version__ = "0.1.0"
