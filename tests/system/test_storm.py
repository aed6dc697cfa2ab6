"""The storm on real systemd: kills, restarts and reloads under clients, all of them exact."""

from __future__ import annotations

from pathlib import Path

from booted import Booted

SUPPORT = Path(__file__).parents[1] / "support"
PORT = 4060
MAKE_TAP = """
from pathlib import Path
from tapd.image.key import load_key
from tapd.image.store import Store
from storm_service import make_application
path = Path("/var/lib/tapd/storm/storm.tap")
Store(path, load_key()).create(make_application("storm", "127.0.0.1:4060"), force=True)
"""


def test_storm(debian: Booted) -> None:
    """Each client's transcript is exact, and the shared counter has no gap and no repeat."""
    for name in ("storm.py", "storm_service.py", "storm_on_systemd.py"):
        path = f"/usr/lib/python3/dist-packages/{name}"
        debian.write(path, (SUPPORT / name).read_bytes())
    debian.run("tapd-mktap", "telnet", "--name", "storm", "--port", f"127.0.0.1:{PORT}")
    debian.run("python3", "-c", MAKE_TAP)
    debian.run("systemctl", "start", "tapd@storm")
    stormed = debian.run(
        "python3", "/usr/lib/python3/dist-packages/storm_on_systemd.py",
        "storm", str(PORT), "30", "60",
        check=False, timeout_s=200,
    )  # fmt: skip
    print(f"{debian.suite}: {stormed.stdout}")
    log = debian.journal("tapd@storm")
    assert stormed.returncode == 0, f"{stormed.stdout}\n{stormed.stderr}\n{log[-6000:]}"
    assert "Traceback" not in log, log[-6000:]
    debian.run("systemctl", "stop", "tapd@storm")
