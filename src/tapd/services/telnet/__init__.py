"""The telnet server type: a Python prompt over telnet.

Imports what is above `services` only. See `session` for how the parts meet.
"""

from __future__ import annotations

from tapd.services.telnet.service import ShellFactory

__all__ = ["ShellFactory"]
