"""Lintian of both Debians on the source, the package and the upload: no error, no warning."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from booted import Booted

pytestmark = pytest.mark.timeout(600)  # a busy machine installs packages slowly


def lintian(system: Booted, package: Path, *options: str) -> list[str]:
    """Return lintian's tags, those of the overrides with N in front."""
    directory = "/root/lintian"
    system.run("mkdir", "-p", directory)
    for path in package.parent.iterdir():
        system.write(f"{directory}/{path.name}", path.read_bytes())
    changes = f"{directory}/{package.name.removesuffix('_all.deb')}_*.changes"
    said = system.run(
        "sh", "-c", f'exec lintian --allow-root --tag-display-limit 0 "$@" {changes}', "sh",
        *options, check=False, timeout_s=300,
    )  # fmt: skip
    assert said.stderr.strip() == ""
    return said.stdout.splitlines()


def test_lintian_finds_nothing(debian: Booted, package: Path) -> None:
    """Errors, warnings and pedantic remarks; the informational ones are for people."""
    tags = lintian(debian, package, "--pedantic", "--display-info", "--show-overrides")
    print("\n".join([debian.output("lintian", "--version"), *tags]))
    assert [line for line in tags if line[:3] in ("E: ", "W: ", "P: ")] == []
    # The tool ran, on all of it: what is overridden shows, of the source and of the package.
    overridden = [line for line in tags if line.startswith("O: ")]
    assert any(line.startswith("O: tapd source: ") for line in overridden)
    assert any(line.startswith("O: tapd: ") for line in overridden)


def test_each_override_has_its_reason() -> None:
    top = Path(__file__).parents[2]
    for path in (top / "debian" / "lintian-overrides", top / "debian/source/lintian-overrides"):
        lines = path.read_text().splitlines()
        assert lines[0].startswith("# ")
        for before, line in itertools.pairwise(lines):
            if not line.startswith("#"):
                assert before.startswith("# ") or before.split()[0] == line.split()[0], line
