"""A disk that is full, and a machine that boots anew, under real systemd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from booted import Booted
from shell_on_systemd import PASSWORD, logged_in, main_pid, start_server

NAME, PORT = "small", 4660
FILL = (
    'dd if=/dev/zero of="$1/filler" bs=64k 2>/dev/null; '
    'dd if=/dev/zero of="$1/rest" bs=1 2>/dev/null; true'
)


@pytest.fixture
def small(debian: Booted) -> Iterator[str]:
    """A server whose state lies on a file system of 1 MiB; yields that directory."""
    debian.run(
        "tapd-mktap", "telnet", "--name", NAME, "--port", str(PORT), "--password-file", "-",
        stdin=PASSWORD,
    )  # fmt: skip
    directory = f"/var/lib/private/tapd/{NAME}"
    # Once started, so that its user and its directory are there.
    debian.run("systemctl", "start", f"tapd@{NAME}")
    debian.run("systemctl", "stop", f"tapd@{NAME}.socket")
    debian.run(
        "sh", "-ec",
        'cp -a "$1" /root/small-copy; mount -t tmpfs -o size=1m,mode=700 small "$1"; '
        'cp -a /root/small-copy/. "$1/"', "sh", directory,
    )  # fmt: skip
    debian.run("systemctl", "start", f"tapd@{NAME}")
    yield directory
    debian.run("systemctl", "stop", f"tapd@{NAME}.socket")
    debian.run("umount", directory)


def test_a_full_disk_stalls_and_loses_nobody(debian: Booted, small: str) -> None:
    """Said at once, in the log and in the status; goes on by itself; the process stays."""
    with logged_in(debian, PORT) as terminal:
        terminal.ask("x = 6")
        before = main_pid(debian, NAME)
        debian.run("sh", "-c", FILL, "sh", small)
        terminal.enter("y = 'z' * 5000")
        status = f"systemctl show --value -p StatusText tapd@{NAME} | grep -q STALLED"
        debian.wait_until("sh", "-c", status)
        # Nobody is answered now, and another one who comes waits.
        debian.run("rm", f"{small}/filler", f"{small}/rest")
        terminal.expect(">>> ")
        assert "42" in terminal.ask("x * 7")
        assert "5000" in terminal.ask("len(y)")
        assert main_pid(debian, NAME) == before
    story = debian.journal(f"tapd@{NAME}", "--output=cat")
    assert "nothing is answered until it can" in story
    assert "the journal can be written again" in story
    assert debian.show(f"tapd@{NAME}.service", "NRestarts") == "0"


def test_a_restart_on_a_full_disk_waits_for_room(debian: Booted, small: str) -> None:
    """It can't save, so it ends with 74 and is tried again, with its connections."""
    with logged_in(debian, PORT) as terminal:
        terminal.ask("x = 6")
        debian.run("sh", "-c", FILL, "sh", small)
        debian.run("systemctl", "restart", "--no-block", f"tapd@{NAME}")
        debian.wait_until(
            "sh", "-c", f"journalctl -u tapd@{NAME} -p err -o cat | grep -qi 'no space left'"
        )
        debian.run("rm", f"{small}/filler", f"{small}/rest")
        assert "42" in terminal.ask("x * 7")
    assert debian.show(f"tapd-refused@{NAME}.target", "ActiveState") == "inactive"


def test_after_a_boot_the_state_is_there_and_the_lost_are_told(debian: Booted) -> None:
    """As after a power cut: PID 1 and all that it held are gone, the disk is not.

    A container can't boot in a test's midst, so what a boot does is done by hand: the
    service and its descriptors go without a stop, and the boot has another name.
    """
    start_server(debian, "booted", 4661)
    with logged_in(debian, 4661) as terminal:
        terminal.ask("x = 6")
        directory = "/etc/systemd/system/tapd@booted.service.d"
        debian.run("mkdir", "-p", directory)
        debian.write(
            f"{directory}/boot.conf",
            # The kill and the stop are to be one: no process comes between them.
            "[Service]\nRestartSec=600\n"
            "Environment=TAPD_BOOT_ID=0123456789abcdef0123456789abcdef\n",
        )
        debian.run("systemctl", "daemon-reload")
        debian.run("systemctl", "kill", "--signal=KILL", "tapd@booted.service")
        debian.run("systemctl", "stop", "tapd@booted.socket", "tapd@booted.service")
        debian.run("systemctl", "start", "tapd@booted.service")
        terminal.expect("onnection closed")
    story = debian.journal("tapd@booted", "--output=cat")
    assert "the process before was killed; connections that go on: 0, ended meanwhile: 1" in story
    with logged_in(debian, 4661) as terminal:
        assert "42" in terminal.ask("x * 7")
