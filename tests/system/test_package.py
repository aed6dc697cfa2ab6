"""The package on a real system: it installs, its units are right, it goes cleanly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from booted import Booted
from packaged import put
from shell_on_systemd import logged_in, main_pid, make_server
from telnet_terminal import TelnetTerminal

pytestmark = pytest.mark.timeout(600)  # a busy machine installs packages slowly

EXPOSURE_MAX = 0.3
COMMANDS = ("tapd", "tapd-mktap", "tapctl")

# What a look at the file system is blind to: dpkg's and apt's own books, logs, and
# what the kernel and systemd keep of any service for a while.
_PRUNED = (
    "/dev", "/proc", "/sys", "/tmp", "/var/tmp", "/var/lib/apt", "/var/lib/dpkg", "/var/log",
    "/var/cache/apt", "/var/cache/man", "/run/systemd/journal", "/run/log", "/run/systemd/units",
    "/run/systemd/io.systemd.DynamicUser", "/run/credentials",
)  # fmt: skip


def look(system: Booted) -> dict[str, str]:
    """Return what is on the system: files with kind, mode and owner, users, units, links.

    Texts in /etc are compared by their content.
    """
    prune = " -o ".join(f"-path {path}" for path in _PRUNED)
    script = (
        f"find / /run \\( {prune} \\) -prune -o "
        "-printf '%p\\t%y %m %U:%G %l\\n'; "
        "find /etc -xdev -type f -exec sha256sum {} + | sed 's/\\([^ ]*\\)  \\(.*\\)/=\\2\\t\\1/'; "
        "getent passwd | sed 's/^/user /;s/$/\\t/'; getent group | sed 's/^/group /;s/$/\\t/'; "
        'systemctl list-units --all --plain --no-legend | awk \'{print "unit " $1 "\\t" $3}\' | '
        "grep tapd; "
        'systemctl list-unit-files --plain --no-legend | awk \'{print "file " $1 "\\t" $2}\''
    )
    said = system.output("sh", "-c", script, timeout_s=120)
    return dict(line.split("\t", 1) for line in said.splitlines())


def difference(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """Return what came, went (as "gone") or became another."""
    came = {name: what for name, what in after.items() if before.get(name) != what}
    return came | dict.fromkeys(before.keys() - after.keys(), "gone")


def script(system: Booted, name: str, *arguments: str) -> None:
    """Run one of the package's maintainer scripts, as dpkg would."""
    path = f"/var/lib/dpkg/info/tapd.{name}"
    system.run("env", "DPKG_MAINTSCRIPT_PACKAGE=tapd", path, *arguments)


# --- what is there ------------------------------------------------------------------


def test_the_commands_are_there(debian: Booted) -> None:
    for command in COMMANDS:
        assert "usage" in debian.output(command, "--help").lower()


def test_the_man_pages_are_there(debian: Booted) -> None:
    # man(1) of a minimal system has its files left out, but for those it is asked to keep.
    listed = debian.output("dpkg", "--listfiles", "tapd").split()
    for page in (
        "man1/tapctl.1", "man1/tapd-mktap.1", "man5/tapd.tap.5", "man8/tapd.8",
        "man8/tapd@.service.8", "man8/tapd@.socket.8", "man8/tapd-refused@.target.8",
    ):  # fmt: skip
        assert f"/usr/share/man/{page}.gz" in listed


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


def test_tab_completes_in_bash(debian: Booted) -> None:
    """In a real shell on a terminal: bash-completion finds the file by the command's name."""
    with debian.terminal("bash", "--norc", "-i") as fd:
        person = TelnetTerminal(fd)
        person.enter("PS1='$ '; bind 'set enable-bracketed-paste off'; echo re''ady")
        person.expect("ready")
        person.enter(". /usr/share/bash-completion/bash_completion; echo lo''aded")
        person.expect("loaded")
        for typed, completed in (
            ("tapd-mktap tel\t", "tapd-mktap telnet "),
            ("--names\t", "--namespace "),
            ("pri\t", "private "),
            ("\x15tapctl hist\t", "tapctl history "),
            ("\x15tapd --ch\t", "tapd --checkpoint "),
        ):
            person.type(typed)
            person.expect(completed)


# --- the maintainer scripts -----------------------------------------------------------


def test_maintainer_scripts_know_every_argument(debian: Booted) -> None:
    """Policy 6.5, each as often as dpkg may call it; none of these disturbs a server."""
    make_server(debian, "scripts", "4300")
    make_server(debian, "asleep2", "4301")
    debian.run("systemctl", "start", "tapd@scripts", "tapd@asleep2.socket")
    key = debian.read("/etc/tapd/key")
    with logged_in(debian, 4300) as person:
        before = main_pid(debian, "scripts")
        for name, *arguments in (
            ("preinst", "upgrade", "0.1", "0.2"),
            ("preinst", "abort-upgrade", "0.2"),
            ("prerm", "upgrade", "0.2"),
            ("prerm", "failed-upgrade", "0.1"),
            ("prerm", "deconfigure", "in-favour", "other", "1"),
            ("prerm", "deconfigure", "in-favour", "other", "1", "removing", "third", "2"),
            ("postrm", "upgrade", "0.2"),
            ("postrm", "failed-upgrade", "0.1"),
            ("postrm", "abort-upgrade", "0.1"),
            ("postinst", "abort-upgrade", "0.2"),
            ("postinst", "abort-deconfigure", "in-favour", "other", "1"),
        ):
            script(debian, name, *arguments)
            script(debian, name, *arguments)
        assert main_pid(debian, "scripts") == before
        # Configured anew, twice: what runs is asked to look for new code, of which there
        # is none (test_upgrade.py has some); what sleeps sleeps on.
        version = debian.output("dpkg-query", "--show", "--showformat=${Version}", "tapd")
        for _ in range(2):
            script(debian, "postinst", "configure", version)
        assert main_pid(debian, "scripts") == before
        story = debian.journal("tapd@scripts.service", "--output=cat")
        assert story.count("a reload was asked for") == 2
        assert main_pid(debian, "asleep2") == "0"
        assert debian.show("tapd@asleep2.socket", "ActiveState") == "active"
        assert "2" in person.ask("1 + 1")
    assert debian.read("/etc/tapd/key") == key
    for name in ("preinst", "prerm", "postrm", "postinst"):
        path = f"/var/lib/dpkg/info/tapd.{name}"
        assert debian.run(path, "no-such", check=False).returncode != 0


def test_policy_rc_d_is_asked(debian: Booted) -> None:
    """An administrator who lets no package touch services is heeded."""
    make_server(debian, "policy", "4302")
    debian.run("systemctl", "start", "tapd@policy")
    before = main_pid(debian, "policy")
    debian.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", "755")
    try:
        version = debian.output("dpkg-query", "--show", "--showformat=${Version}", "tapd")
        script(debian, "postinst", "configure", version)
        script(debian, "prerm", "remove")
    finally:
        debian.run("rm", "/usr/sbin/policy-rc.d")
    assert main_pid(debian, "policy") == before


def test_servers_of_users_go_on_too(bare_debian: Booted, package: Path) -> None:
    """An upgrade has each user's service manager read the units anew."""
    system = bare_debian
    path = put(system, package)
    system.run("apt-get", "install", "--yes", path)
    system.run("useradd", "--create-home", "eve")
    system.run("systemctl", "start", "user@1000.service")
    as_eve = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "env",
              "XDG_RUNTIME_DIR=/run/user/1000", "systemctl", "--user")  # fmt: skip
    system.run("mkdir", "-p", "/home/eve/.config/systemd/user")
    unit = "/home/eve/.config/systemd/user/tapd@one.service"
    system.write(unit, "[Service]\nExecStart=/bin/sleep infinity\n")
    system.run(*as_eve, "daemon-reload")
    system.run(*as_eve, "start", "tapd@one.service")
    before = system.output(*as_eve, "show", "--value", "-p", "MainPID", "tapd@one.service")
    system.run("dpkg", "--install", path)
    after = system.output(*as_eve, "show", "--value", "-p", "MainPID", "tapd@one.service")
    assert after not in (before, "0\n")
    system.run("apt-get", "remove", "--yes", "tapd")
    assert system.output(*as_eve, "is-active", "tapd@one.service", check=False) == "inactive\n"


# --- a life of the package --------------------------------------------------------------


def make_servers_of_all_kinds(system: Booted) -> None:
    """Running, asleep with a timer, enabled, refused, of an odd name, never started."""
    make_server(system, "plain", "4040")
    make_server(system, "enabled", "4041", options=("--now",))
    make_server(system, "socket", "unix:/run/tapd-of-mine.sock")
    make_server(system, "damaged", "4042")
    make_server(system, "never-started", "4043")
    make_server(system, "a+b", "4045", options=("--now", "--allow-network", "--memory-max=1G"))
    make_server(system, "dozing", "4046")
    system.run("systemctl", "start", "tapd@dozing")
    timer = "application.call_later(3600, print, 'awake')\n"
    system.run("tapctl", "shell", "dozing", stdin=timer)
    system.run("tapd-mktap", "telnet", "--name", "dozing", "--idle-exit=0.5")
    system.run("systemctl", "restart", "tapd@dozing")
    system.wait_until("systemctl", "is-active", "tapd@dozing.timer")
    system.run("systemctl", "start", "tapd@plain", "tapd@socket")
    system.run("truncate", "--size=-9", "/var/lib/tapd/damaged/damaged.tap")
    assert system.run("systemctl", "start", "tapd@damaged", check=False).returncode
    system.wait_until("systemctl", "is-active", "tapd-refused@damaged.target")


def write_own_drop_ins(system: Booted) -> dict[str, str]:
    """Write what an administrator might; return the texts by path."""
    own = {
        "/etc/systemd/system/tapd@.service.d/mine.conf": "[Service]\nCPUWeight=50\n",
        "/etc/systemd/system/tapd@plain.socket.d/mine.conf": "[Socket]\nPriority=1\n",
        "/etc/systemd/system/tapd@other.socket.d/ports.conf":
            "# My own, about what tapd-mktap would do.\n[Socket]\nListenStream=4044\n",
    }  # fmt: skip
    for file, text in own.items():
        system.run("mkdir", "-p", str(Path(file).parent))
        system.write(file, text)
    system.run("systemctl", "daemon-reload")
    return own


def test_purge_leaves_nothing_but_the_administrators_own(
    bare_debian: Booted, package: Path
) -> None:
    """As piuparts looks: the system before, and after a life with servers of all kinds."""
    system = bare_debian
    path = put(system, package)
    before = look(system)
    system.run("apt-get", "install", "--yes", path)
    key = system.read("/etc/tapd/key")
    assert "tapd" in catalog_entries(system)

    make_servers_of_all_kinds(system)
    own = write_own_drop_ins(system)
    with logged_in(system, 4040) as person:
        person.ask("kept = 'of plain'")
        system.run("tapctl", "checkpoint", "plain")
        system.run("apt-get", "remove", "--yes", "tapd")
        person.expect("onnection closed")

    removed = look(system)
    assert not system.exists("/usr/bin/tapd")
    assert system.read("/etc/tapd/key") == key, "a removal keeps what is worth keeping"
    assert catalog_entries(system) == ""
    active = [
        name for name, what in removed.items() if name[:10] == "unit tapd@" and what == "active"
    ]
    assert active == []
    assert system.run("sh", "-c", "ps -eo args | grep -q '[t]apd '", check=False).returncode
    assert system.exists("/var/lib/tapd/plain/plain-shutdown.tap")

    # Installed again: what is enabled starts as it would at a boot, all state is there.
    system.run("apt-get", "install", "--yes", path)
    assert system.read("/etc/tapd/key") == key
    assert main_pid(system, "enabled") != "0"
    assert system.show("tapd@plain.socket", "ActiveState") == "inactive"
    system.run("systemctl", "start", "tapd@plain")
    with logged_in(system, 4040) as person:
        assert "'of plain'" in person.ask("kept")

    system.run("apt-get", "purge", "--yes", "tapd")
    left = difference(before, look(system))
    for file, text in own.items():
        assert system.read(file) == text
        for name in (file, "=" + file, str(Path(file).parent)):
            del left[name]
    assert {name: what for name, what in left.items() if not is_of_the_system(name)} == {}

    # And all works again from nothing, with another key.
    system.run("apt-get", "install", "--yes", path)
    assert system.read("/etc/tapd/key") != key
    make_server(system, "plain", "4040")
    system.run("systemctl", "start", "tapd@plain")
    with logged_in(system, 4040) as person:
        assert "NameError" in person.ask("kept")


def catalog_entries(system: Booted) -> str:
    """Return the list of tapd's entries in the journal's catalog (journalctl -x)."""
    return system.output("sh", "-c", "journalctl --list-catalog | grep -i tapd || true")


def is_of_the_system(name: str) -> bool:
    """Whether it is what any package's life changes, in caches that are not ours."""
    return name.startswith(("/var/cache/", "/run/systemd/", "/run/utmp")) and "tapd" not in name


def test_a_purge_of_a_mounted_state_directory(bare_debian: Booted, package: Path) -> None:
    """A directory of its own is emptied; that it can't be removed is no error."""
    system = bare_debian
    path = put(system, package)
    system.run("apt-get", "install", "--yes", path)
    system.run("mount", "-t", "tmpfs", "tmpfs", "/var/lib/tapd")
    make_server(system, "mounted", "4040")
    system.run("apt-get", "purge", "--yes", "tapd")
    assert system.output("find", "/var/lib/tapd") == "/var/lib/tapd\n"


def test_a_failed_removal_starts_what_is_enabled(bare_debian: Booted, package: Path) -> None:
    """A removal that another script refuses leaves a system that serves."""
    system = bare_debian
    path = put(system, package)
    system.run("apt-get", "install", "--yes", path)
    make_server(system, "enabled", "4040", options=("--now",))
    before = main_pid(system, "enabled")
    prerm = "/var/lib/dpkg/info/tapd.prerm"
    system.run("sed", "-i", "$ s/.*/exit 1/", prerm)
    assert system.run("dpkg", "--remove", "tapd", check=False).returncode
    assert main_pid(system, "enabled") not in ("0", before)
    assert "install ok installed" in system.output("dpkg-query", "--status", "tapd")


def test_the_package_installs_without_systemd_running(bare_debian: Booted, package: Path) -> None:
    """As when an image is made: nothing is started, nothing fails."""
    system = bare_debian
    path = put(system, package)
    hidden = "mount -t tmpfs tmpfs /run && dpkg --install $1 && dpkg --purge tapd"
    system.run("unshare", "--mount", "sh", "-c", hidden, "sh", path)
    assert not system.exists("/etc/tapd")
