"""A start does not import these modules: waiting clients would pay for the imports."""

from __future__ import annotations

import subprocess
import sys

_START = "import tapd.cli.tapd.command, tapd.systemd.logs, tapd.host.daemon, tapd.services.telnet"


def run(code: str) -> str:
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def test_no_start_pays_for_dataclasses_of_tapds_own() -> None:
    code = f"""
import dataclasses, sys
made = []
def dataclass(*given, **options):
    made.append(sys._getframe(1).f_globals["__name__"])
    return lambda cls: cls
dataclasses.dataclass = dataclass
{_START}
print([name for name in made if name.startswith("tapd.")])
"""
    assert run(code) == "[]"


def test_no_start_imports_what_comes_later() -> None:
    later = {
        "argparse", "tempfile", "uuid", "systemd.journal", "tapd.cli.tapd.usage",
        "tapd.host.saving.checkpoint", "tapd.host.control", "tapd.host.manager.manager",
        "tapd.host.prompt.prompt",
    }  # fmt: skip
    assert run(f"import sys; {_START}; print(sorted({later!r} & sys.modules.keys()))") == "[]"
