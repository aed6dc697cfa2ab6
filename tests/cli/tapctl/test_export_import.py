"""tapctl export and import."""

from __future__ import annotations

from pathlib import Path

from by_hand import Server
from tap_commands import run, run_json, saved, tapctl, tapctl_json

from tapd.model.service import Service
from tapd.store.generations import Store
from tapd.store.key import load_key


def test_export_writes_a_tap_that_runs_elsewhere(tap: Path, tmp_path: Path) -> None:
    there = tmp_path / "copy.tap"
    assert run("export", tap, there, "-g", 2).exit_code == 0
    assert Store(there, load_key()).load().application.mark == "two"


def test_import_on_another_port(tap: Path, tmp_path: Path) -> None:
    run("export", tap, tmp_path / "copy")
    for name, ports in (("one", ["5050"]), ("two", ["unix:/run/x", "service=127.0.0.9:51"])):
        options = [part for port in ports for part in ("--port", port)]
        result = run("import", tmp_path / "copy", "--name", name, "--directory", ".", *options)
        assert result.exit_code == 0, result.output
    there = [
        [
            str(port.address)
            for port in Store(Path(f"{name}.tap"), load_key()).load().application.ports
        ]
        for name in ("one", "two")
    ]
    assert there == [["127.0.0.1:5050", "[::1]:5050"], ["unix:/run/x", "127.0.0.9:51"]]
    assert run_json("list", ".")[0]["ports"] == there[0]
    for wrong in ("nothing=5050", "http"):
        result = run(
            "import", tmp_path / "copy", "--name", "three", "--directory", ".", "--port", wrong
        )
        assert result.exit_code == 64
        assert not Path("three.tap").exists()


def test_import_asks_which_of_several_services_a_port_is_for(tap: Path, tmp_path: Path) -> None:
    store = Store(tap, load_key())
    with store.lock():
        application = store.load().application
        application.listen("127.0.0.1:4041", application.add_service(Service(), "second"))
        store.save(application, store.next_generation(), clean=False)
    run("export", tap, tmp_path / "copy")
    whole = ("import", tmp_path / "copy", "--name", "x", "--directory", ".", "--port")
    refused = run(*whole, "5050")
    assert refused.exit_code == 64
    assert "--port service=5050" in refused.output
    assert run(*whole, "second=127.0.0.1:5050").exit_code == 0
    ports = run_json("show", "x")["manifest"]["ports"]
    assert [port["address"] for port in ports] == ["127.0.0.1:4040", "127.0.0.1:5050"]


def test_export_and_import_make_a_server_of_its_own(server: Server) -> None:
    tapctl(server, "set", "telnet", "tries=9")
    server.stop()
    tapctl(server, "export", "telnet", "copy")
    assert "Made" in tapctl(server, "import", "copy", "--name", "twin", "--directory", ".").stdout
    tapctl(server, "import", "copy", "--name", "twin", "--directory", ".", status=73)
    twin = Store(server.tap.with_name("twin.tap"), server.key).load().application
    assert (twin.name, twin.services["shellfactory"].name) == ("twin", "shellfactory")
    assert twin.lineage != saved(server).lineage
    rows = {row["option"]: row["value"] for row in tapctl_json(server, "set", "twin")}
    assert rows["tries"] == "9"
