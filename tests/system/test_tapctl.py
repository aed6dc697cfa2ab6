"""tapctl on servers that systemd runs: status, checkpoint, shell, set, reset, completion."""

from __future__ import annotations

import json
from typing import Any

from booted import Booted
from shell_on_systemd import logged_in, make_server
from telnet_terminal import TelnetTerminal


def tapctl_json(debian: Booted, *arguments: str, stdin: str = "") -> Any:
    return json.loads(debian.output("tapctl", *arguments, "--json", stdin=stdin))


def settings(debian: Booted, name: str) -> dict[str, str]:
    return {row["option"]: row["value"] for row in tapctl_json(debian, "set", name)}


def log_in(debian: Booted, port: int, password: str) -> str:
    with logged_in(debian, port, password=password) as terminal:
        return terminal.ask("marked")


def test_tapctl_drives_a_server_of_systemd(debian: Booted) -> None:
    name, unit, port = "driven", "tapd@driven.service", 4471
    make_server(debian, name, port)
    assert tapctl_json(debian, "status", name)["state"] == "stopped"
    debian.run("tapctl", "set", name, "tries=7")  # asleep, before its user was ever made
    debian.run("systemctl", "start", unit)
    status = tapctl_json(debian, "status", name)
    assert (status["state"], str(status["pid"])) == ("running", debian.show(unit, "MainPID"))
    assert settings(debian, name)["tries"] == "7"
    mode = debian.output("stat", "-c", "%a %F", f"/run/tapd/{name}/control").strip()
    assert mode == "600 socket"

    script = "def twice(n):\n    return 2 * n\napplication.mark = twice(21)\nprint(application)\n"
    assert debian.output("tapctl", "shell", name, stdin=script) == "<driven app>\n"
    report = tapctl_json(debian, "checkpoint", name)
    assert tapctl_json(debian, "status", name)["generation"] == report["generation"]
    assert ".mark = 42" in debian.output("tapctl", "show", name)

    # A kill takes nothing of it, and the socket is there again.
    debian.run("tapctl", "shell", name, stdin="application.mark += 1\n")
    debian.run("tapctl", "set", name, "password=admin", "--password-file", "-", stdin="newer\n")
    pid = debian.show(unit, "MainPID")
    debian.run("kill", "-KILL", pid)
    debian.wait_until("sh", "-c", f'[ "$(systemctl show --value -p MainPID {unit})" != {pid} ]')
    debian.wait_until("systemctl", "--quiet", "is-active", unit)
    assert debian.output("tapctl", "shell", name, stdin="application.mark, twice(4)\n") == (
        "(43, 8)\n"
    )

    with debian.terminal("tapctl", "shell", name) as fd:
        person = TelnetTerminal(fd)
        person.expect(">>> ")
        assert "<driven app>" in person.ask("application")

    log = debian.journal(unit)
    assert "a shell was opened by uid 0, process " in log
    assert "password=admin was set by uid 0" in log
    assert "newer" not in log
    audit = debian.journal(unit, "TAPD_OPTION=password", "--output=json")
    assert json.loads(audit.splitlines()[0])["TAPD_PEER_UID"] == "0"

    # Nobody else may ask.
    refused = debian.run(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
        "tapctl", "status", name, check=False,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr

    debian.run("tapctl", "shell", name, stdin="s = application.services['telnet']\n"
               "s.namespace.names['marked'] = 'mark' * 2\ns.namespace.touch()\n")  # fmt: skip
    assert "markmark" in log_in(debian, port, "newer")

    debian.run("systemctl", "stop", unit, f"tapd@{name}.socket")
    assert tapctl_json(debian, "status", name)["state"] == "stopped"
    debian.run("tapctl", "set", name, "password=admin", "--password-file", "-", stdin="asleep\n")
    debian.run("systemctl", "start", unit)
    assert "markmark" in log_in(debian, port, "asleep")
    debian.run("systemctl", "stop", unit, f"tapd@{name}.socket")
    debian.run("tapctl", "reset", name, "--yes")
    assert debian.glob(f"/var/lib/tapd/{name}/{name}.d.old-*")
    debian.run("systemctl", "start", unit)
    assert settings(debian, name)["tries"] == "3"


def test_export_and_import_install_a_second_server(debian: Booted) -> None:
    make_server(debian, "exporting", 4472)
    debian.run("tapctl", "export", "exporting", "/root/exporting.copy")
    debian.run("tapctl", "import", "/root/exporting.copy", "--name", "imported")
    assert "ListenStream=" in debian.read("/etc/systemd/system/tapd@imported.socket.d/ports.conf")
    debian.run("systemctl", "start", "tapd@imported")
    status = tapctl_json(debian, "status", "imported")
    assert (status["name"], status["state"]) == ("imported", "running")


def test_names_complete_in_bash(debian: Booted) -> None:
    make_server(debian, "completed", 4473)
    script = (
        ". /usr/share/bash-completion/completions/tapctl; "
        "COMP_WORDS=(tapctl status compl); COMP_CWORD=2; "
        '_tapctl_completion tapctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert debian.output("bash", "-c", script) == "completed\n"
