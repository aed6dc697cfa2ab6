"""The package on a real system: it installs, its units are right, it goes cleanly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from booted import Booted

EXPOSURE_MAX = 0.3


def test_the_commands_are_there(debian: Booted) -> None:
    for command in ("tapd", "tapd-mktap"):
        assert "usage" in debian.output(command, "--help").lower()


def test_the_host_gets_a_key_of_its_own(debian: Booted) -> None:
    assert debian.output("stat", "--format=%a %U %s", "/etc/tapd/key").startswith("600 root ")


@pytest.mark.parametrize("unit", ["tapd@.service", "tapd@.socket", "tapd-refused@.target"])
def test_the_units_are_clean(debian: Booted, unit: str) -> None:
    """systemd-analyze(1): verify complains of nothing but what the other version lacks."""
    drop_in = "/etc/systemd/system/tapd@verify.socket.d/ports.conf"
    debian.run("mkdir", "-p", str(Path(drop_in).parent))
    debian.write(drop_in, "[Socket]\nListenStream=127.0.0.1:9\n")
    path = f"/usr/lib/systemd/system/{unit.replace('@.', '@verify.')}"
    checked = debian.run("systemd-analyze", "verify", path, check=False)
    complaints = [
        line
        for line in (checked.stdout + checked.stderr).splitlines()
        # 252 knows no notify-reload, and says that it skips the line.
        if "tapd" in line and "Failed to parse service type, ignoring: notify-reload" not in line
    ]
    assert complaints == []
    assert checked.returncode == 0


def test_the_process_can_do_little(debian: Booted) -> None:
    report = debian.output("systemd-analyze", "security", "--no-pager", "tapd@x.service")
    exposure = re.search(r"Overall exposure level for tapd@x.service: ([0-9.]+)", report)
    assert exposure is not None, report
    assert float(exposure[1]) <= EXPOSURE_MAX, report


def test_type_is_the_best_that_systemd_knows(debian: Booted) -> None:
    version = int(debian.output("systemctl", "--version").split()[1])
    expected = "notify-reload" if version >= 253 else "notify"
    assert debian.show("tapd@x.service", "Type") == expected


def test_install_upgrade_remove_purge(bare_debian: Booted, package: Path) -> None:
    system = bare_debian
    path = f"/root/{package.name}"
    system.write(path, package.read_bytes())
    before = set(system.output("find", "/etc", "/usr", "/var/lib", "-xdev").splitlines())
    system.run("apt-get", "install", "--yes", path)
    key = system.read("/etc/tapd/key")
    system.run("dpkg", "--install", path)
    assert system.read("/etc/tapd/key") == key, "an upgrade keeps the key"
    assert system.exists("/usr/lib/systemd/system/tapd@.service")

    system.run("apt-get", "remove", "--yes", "tapd")
    assert not system.exists("/usr/bin/tapd")
    assert system.read("/etc/tapd/key") == key, "a removal keeps what is worth keeping"

    system.run("apt-get", "purge", "--yes", "tapd")
    after = set(system.output("find", "/etc", "/usr", "/var/lib", "-xdev").splitlines())
    ours = {line for line in after - before if "tapd" in line}
    assert ours == set()
