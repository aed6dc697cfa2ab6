"""tapctl reset."""

from __future__ import annotations

from by_hand import Server
from tap_commands import saved, tapctl

from tapd.services.telnet import ShellFactory


def test_reset_sets_aside_and_deletes_nothing(server: Server) -> None:
    tapctl(server, "set", "telnet", "tries=9")
    assert "process" in tapctl(server, "reset", "telnet", status=75).stderr, "and asks nothing"
    server.stop()
    shutdown = server.tap.with_name("telnet-shutdown.tap").read_bytes()
    assert "is in" in tapctl(server, "reset", "telnet", "--yes").stdout
    assert "already" in tapctl(server, "reset", "telnet", "--yes").stdout
    service = saved(server).services["shellfactory"]
    assert isinstance(service, ShellFactory)
    assert service.tries_max == 3
    kept = [path.read_bytes() for path in server.tap.parent.glob("telnet.d.old-*/*shutdown*")]
    assert kept == [shutdown]
    server.start()
