"""What a purge removes: debian/postrm on a tree of its own ($DPKG_ROOT), no dpkg needed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tapd.cli.mktap.dropins import UnitOptions, plan_drop_ins, write_texts
from tapd.model.address import parse_address
from tapd.units.instance import escape_instance
from tapd.units.render import SocketOptions
from tapd.units.service import ServiceOptions

POSTRM = Path(__file__).parents[2] / "debian" / "postrm"
UNITS = "etc/systemd/system"


def purge(root: Path, argument: str = "purge") -> None:
    subprocess.run(
        ["sh", POSTRM, argument],
        check=True,
        env={"DPKG_ROOT": str(root), "PATH": os.environ["PATH"]},
    )


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def make(root: Path, name: str) -> None:
    """Write all that tapd-mktap could, with every option that it has."""
    (root / UNITS).mkdir(parents=True, exist_ok=True)
    options = UnitOptions(
        ServiceOptions(
            idle_exit_s=30, network=True, read=(str(root),), write=(str(root),), memory_max="1G"
        ),
        SocketOptions("0660", "adm"),
    )
    addresses = [
        address
        for text in ("4040", "unix:/run/x.sock", "udp:4040", "udp:unix:/run/y.sock")
        for address in parse_address(text)
    ]
    write_texts(plan_drop_ins(name, addresses, options, root / UNITS))


# The second is not one that a unit or a user can have, the third is too long for a user.
@pytest.mark.parametrize("name", ["telnet", "a+b.c", "x" * 40])
def test_generated_drop_ins_go(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)
    assert any(path.endswith("tapd-mktap.conf") for path in files(tmp_path))
    assert any(path.endswith("ports.conf") for path in files(tmp_path))
    purge(tmp_path)
    assert [path for path in files(tmp_path) if "tapd" in path] == []


@pytest.mark.parametrize("name", ["telnet", "a+b.c"])
def test_what_people_wrote_into_them_stays(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)
    instance = escape_instance(name)
    ports = tmp_path / UNITS / f"tapd@{instance}.socket.d" / "ports.conf"
    service = tmp_path / UNITS / f"tapd@{instance}.service.d" / "10-tapd-mktap.conf"
    ports.write_text(ports.read_text() + "# because of the old clients\nPriority=1\n")
    service.write_text(service.read_text() + "CPUWeight=50\nEnvironment=LANG=C.UTF-8\n")
    purge(tmp_path)
    settings = {
        path: [line for line in path.read_text().splitlines() if line and line[0] not in "#["]
        for path in (ports, service)
    }
    assert settings == {
        ports: ["Priority=1"],
        service: ["CPUWeight=50", "Environment=LANG=C.UTF-8"],
    }
    assert "# because of the old clients\n" in ports.read_text()


def test_the_administrators_files_stay_as_they_are(tmp_path: Path) -> None:
    units = tmp_path / UNITS
    own = {
        units / "tapd@telnet.socket.d" / "mine.conf": "[Socket]\nListenStream=4041\n",
        units / "tapd@.service.d" / "mine.conf": "[Service]\nMemoryMax=1G\n",
        # Of the same name, and not made by tapd-mktap: it only talks of it.
        units / "tapd@other.socket.d" / "ports.conf":
            "# Mine.\n\n[Socket]\n# Not written by tapd-mktap\nListenStream=4042\n",
        units / "other@telnet.socket.d" / "ports.conf": "# written by tapd-mktap\n",
        tmp_path / "etc/tapd-notes": "mine\n",
    }  # fmt: skip
    make(tmp_path, "telnet")
    for path, text in own.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    purge(tmp_path)
    assert {path: path.read_text() for path in own} == own


def test_links_state_and_key_go(tmp_path: Path) -> None:
    wants = tmp_path / UNITS / "multi-user.target.wants"
    sockets = tmp_path / UNITS / "sockets.target.wants"
    for directory in (wants, sockets):
        directory.mkdir(parents=True)
    (wants / "tapd@telnet.service").symlink_to("/usr/lib/systemd/system/tapd@.service")
    (wants / "tapd@mine.service").symlink_to("/etc/systemd/system/my-own@.service")
    (sockets / "tapd@telnet.socket").symlink_to("/lib/systemd/system/tapd@.socket")
    masked = tmp_path / UNITS / "tapd@bad.service"
    masked.symlink_to("/dev/null")
    for place in ("etc/tapd", "var/lib/private/tapd/telnet", "var/lib/tapd"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "etc/tapd/key").touch()
    (tmp_path / "var/lib/private/tapd/telnet/telnet.tap").touch()
    (tmp_path / "var/lib/tapd/telnet").symlink_to("../private/tapd/telnet")
    (tmp_path / "var/lib/private/other").mkdir()
    purge(tmp_path)
    assert os.path.lexists(wants / "tapd@mine.service")
    assert os.path.lexists(masked)
    left = [path for path in files(tmp_path) if "/tapd" in path]
    assert left == [
        f"{UNITS}/multi-user.target.wants/tapd@mine.service",
        f"{UNITS}/tapd@bad.service",
    ]
    assert not sockets.exists()
    assert (tmp_path / "var/lib/private/other").is_dir()


@pytest.mark.parametrize("argument", ["remove", "upgrade", "abort-install", "disappear"])
def test_nothing_else_removes_anything(tmp_path: Path, argument: str) -> None:
    make(tmp_path, "telnet")
    (tmp_path / "etc/tapd").mkdir()
    before = files(tmp_path)
    purge(tmp_path, argument)
    assert files(tmp_path) == before


def test_a_second_purge_finds_nothing_to_do(tmp_path: Path) -> None:
    make(tmp_path, "telnet")
    purge(tmp_path)
    before = files(tmp_path)
    purge(tmp_path)
    assert files(tmp_path) == before
