"""debian/tests as Debian's own infrastructure would run it: by autopkgtest, on both Debians.

The testbed is the booted system itself (autopkgtest-virt-null(1)). It is a whole
system that is thrown away afterwards, which that server can't know: so it is told
to heed no restriction that asks for isolation or says that the testbed breaks.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from booted import Booted

pytestmark = pytest.mark.timeout(600)  # a busy machine installs packages slowly

TOP = Path(__file__).parents[2]


def declared() -> set[str]:
    control = (TOP / "debian" / "tests" / "control").read_text()
    lists = re.findall(r"(?m)^Tests: (.+)$", control)
    return {name for names in lists for name in names.split(", ")}


def test_autopkgtest(bare_debian: Booted, package: Path) -> None:
    system = bare_debian
    directory = "/root/upload"
    system.run("mkdir", "-p", directory)
    for path in package.parent.iterdir():
        system.write(f"{directory}/{path.name}", path.read_bytes())
    source = package.name.replace("_all.deb", ".dsc")
    ran = system.run(
        "autopkgtest", "--no-built-binaries", "--summary-file=/root/summary",
        "--ignore-restrictions=isolation-container,breaks-testbed",
        f"{directory}/{package.name}", f"{directory}/{source}", "--", "null",
        check=False, timeout_s=600,
    )  # fmt: skip
    summary = system.read("/root/summary")
    results = dict(line.split(None, 1) for line in summary.splitlines())
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-8000:]
    assert results == dict.fromkeys(declared(), "PASS")
