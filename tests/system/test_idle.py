"""Scale to zero on real systemd: servers that sleep are no process, and wake when needed."""

from __future__ import annotations

from booted import Booted
from shell_on_systemd import logged_in, main_pid, start_server

MANY = 20


def options(debian: Booted, name: str, text: str) -> None:
    """Give the server options by a drop-in."""
    directory = f"/etc/systemd/system/tapd@{name}.service.d"
    debian.run("mkdir", "-p", directory)
    debian.write(f"{directory}/options.conf", f"[Service]\nEnvironment=TAPD_OPTIONS={text}\n")
    debian.run("systemctl", "daemon-reload")


def wait_for_state(debian: Booted, unit: str, state: str) -> None:
    debian.wait_until("sh", "-c", '[ "$(systemctl is-active "$1")" = "$2" ]', "sh", unit, state)


def test_a_client_wakes_a_server_that_fell_asleep(debian: Booted) -> None:
    options(debian, "zero", "--idle-exit=0.5")
    start_server(debian, "zero", 4400)
    with logged_in(debian, 4400) as terminal:
        terminal.ask("x = 6")
        before = main_pid(debian, "zero")
        assert "2" in terminal.ask("1 + 1")
        terminal.enter("quit()")
        terminal.expect("onnection closed")
    wait_for_state(debian, "tapd@zero.service", "inactive")
    assert debian.show("tapd@zero.service", "Result") == "success"
    assert debian.show("tapd@zero.service", "NRestarts") == "0"
    assert "asleep" in debian.show("tapd@zero.service", "StatusText")
    with logged_in(debian, 4400) as terminal:
        assert "42" in terminal.ask("x * 7")
        assert main_pid(debian, "zero") != before
    story = debian.journal("tapd@zero.service", "--output=cat")
    assert "woken by a client" in story
    assert "killed" not in story


def test_a_timer_wakes_a_server_that_sleeps(debian: Booted) -> None:
    options(debian, "bell", "--idle-exit=0.5")
    start_server(debian, "bell", 4401)
    with logged_in(debian, 4401) as terminal:
        terminal.ask("import __main__, time")
        terminal.ask("rung = []")
        terminal.ask("def ring(): rung.append(time.time())", "... ")
        terminal.ask("")
        terminal.ask("due = __main__.application.call_later(10, ring).due_s")
        terminal.enter("quit()")
        terminal.expect("onnection closed")
    wait_for_state(debian, "tapd@bell.service", "inactive")
    wait_for_state(debian, "tapd@bell.timer", "active")
    assert "tapd@bell.timer" in debian.output("systemctl", "list-timers", "--all")
    # It is woken, runs the timer, and sleeps again; then no plan is left.
    debian.wait_until(
        "sh", "-c", "journalctl -u tapd@bell.service -o cat | grep -q 'woken by a timer'"
    )
    wait_for_state(debian, "tapd@bell.service", "inactive")
    wait_for_state(debian, "tapd@bell.timer", "inactive")
    with logged_in(debian, 4401) as terminal:
        assert "'1 True'" in terminal.ask("f'{len(rung)} {-0.1 < rung[0] - due < 15}'")


def test_who_stops_a_sleeping_server_stops_its_timer(debian: Booted) -> None:
    options(debian, "hush", "--idle-exit=0.5")
    for what in ("service", "socket"):
        if what == "service":
            start_server(debian, "hush", 4402)
        else:
            debian.run("systemctl", "start", "tapd@hush.service")
        with logged_in(debian, 4402) as terminal:
            terminal.ask("import __main__")
            terminal.ask("t = __main__.application.call_later(3600, print)")
            terminal.enter("quit()")
            terminal.expect("onnection closed")
        wait_for_state(debian, "tapd@hush.service", "inactive")
        wait_for_state(debian, "tapd@hush.timer", "active")
        debian.run("systemctl", "stop", f"tapd@hush.{what}")
        wait_for_state(debian, "tapd@hush.timer", "inactive")


def test_what_it_wrote_can_not_misuse_the_root_that_reads_it(debian: Booted) -> None:
    """`stopped` runs outside of the sandbox; what it reads was written inside."""
    for number, text in enumerate(("1; touch /owned", "$(touch /owned)", "99999999999\nx", "-1")):
        debian.write("/tmp/asleep", text)
        debian.run(
            "env", "SERVICE_RESULT=success", "EXIT_STATUS=150",
            "/usr/lib/tapd/stopped", f"odd{number}", "/tmp/asleep",
        )  # fmt: skip
        assert debian.show(f"tapd@odd{number}.timer", "ActiveState") == "inactive"
    debian.run("sh", "-c", "rm -f /tmp/asleep; ln -s /etc/passwd /tmp/asleep")
    debian.run(
        "env", "SERVICE_RESULT=success", "EXIT_STATUS=150",
        "/usr/lib/tapd/stopped", "odd", "/tmp/asleep",
    )  # fmt: skip
    assert not debian.exists("/owned")


def test_typed_code_that_ends_the_process_ends_no_server(debian: Booted) -> None:
    """Restart=always: status 0 of `os._exit(0)` does not mean that anybody wanted a stop."""
    start_server(debian, "exits", 4403)
    with logged_in(debian, 4403) as terminal:
        terminal.ask("x = 6")
        terminal.enter("import os; os._exit(0)")
        terminal.expect("killed while running this")
        terminal.expect(">>> ")
        assert "42" in terminal.ask("x * 7")


def test_many_sleeping_servers_cost_no_process(debian: Booted) -> None:
    names = [f"many{number}" for number in range(MANY)]
    script = (
        "for n in $(seq 0 $(($1 - 1))); do tapd-mktap telnet --name many$n --port 44$((n + 10)) "
        "-u admin --password-file - <<<secret >/dev/null && "
        "mkdir -p /etc/systemd/system/tapd@many$n.service.d && "
        "printf '[Service]\\nEnvironment=TAPD_OPTIONS=--idle-exit=0.5\\n' "
        ">/etc/systemd/system/tapd@many$n.service.d/options.conf || exit 1; done; "
        "systemctl daemon-reload && systemctl start $(printf 'tapd@%s.socket ' $2)"
    )
    debian.run("bash", "-c", script, "bash", str(MANY), " ".join(names), timeout_s=120)
    with_nobody = "! pgrep -f '[/]var/lib/tapd/many'"
    debian.wait_until("sh", "-c", with_nobody)
    for number in range(MANY):
        debian.run(
            "sh", "-c", 'printf "" | timeout 20 nc -N 127.0.0.1 "$1" | grep -qa username', "sh",
            str(4410 + number),
        )  # fmt: skip
    debian.wait_until("sh", "-c", with_nobody)
    for name in names:
        assert debian.show(f"tapd@{name}.service", "Result") == "success"
