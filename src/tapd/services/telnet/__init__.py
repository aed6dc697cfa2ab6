"""The telnet server type: a Python prompt over telnet.

See `session` for how the parts fit together.
"""

from __future__ import annotations

from tapd.services.telnet.service import ShellFactory

__all__ = ["ShellFactory"]
