"""A network that 0.1.0 saved, before its modules moved, loads for ever and with all its state.

It was saved (signed with the key of tests/golden) while Ann was on #tea, topic "green", and
watched bob; for one of two clients that had not registered yet a gateway's password was being
checked; somebody was too fast; and both timers were pending.
"""

from __future__ import annotations

from pathlib import Path

import golden_taps
import pytest

from tapd.image.evolution.versions import Restoration
from tapd.image.tracking.jar import Jar
from tapd.model.application import Application
from tapd.services.irc import IrcNetwork
from tapd.services.irc.commands import connection
from tapd.services.irc.conduct.session import Session
from tapd.services.irc.state.limits import WaitingRoom
from tapd.store.snapshot import load_application, take_snapshot
from tapd.store.tapfile import parse_tap

KEY = golden_taps.read_key(Path(__file__).parents[2] / "golden")
TAP = Path(__file__).parent / "golden" / "network-0.1.0.tap"


def load(path: Path) -> Application:
    """Load a TAP as a daemon does, up to its jar; classes of today may change what they get."""
    pickle, _manifest = parse_tap(path.read_bytes(), KEY, path.name)
    restoration = Restoration()
    application = load_application(pickle, path, restoration)
    jar = Jar()
    jar.adopt(application, restoration.durables)
    restoration.finish()
    jar.commit()
    return application


@pytest.fixture(params=["as it was saved", "saved again"])
def application(request: pytest.FixtureRequest, tmp_path: Path) -> Application:
    """Return the network's application, loaded as a daemon does."""
    application = load(TAP)
    if request.param == "saved again":
        snapshot = take_snapshot(application, 2, KEY)
        assert not snapshot.losses
        again = tmp_path / "again.tap"
        again.write_bytes(b"".join(snapshot.chunks))
        application = load(again)
    return application


def test_the_state_is_all_there(application: Application) -> None:
    network = application.services["irc"]
    assert type(network) is IrcNetwork
    assert (network.network_name, network.server_name) == ("Test", "irc.test.internal")
    channel = network.channels["#tea"]
    ann = network.users["ann"]
    assert (channel.topic, channel.members) == ("green", {ann: "o"})
    (session,) = ann.sessions
    assert type(session) is Session
    assert session.is_registered
    assert network.monitors.targets(session) == ["bob"]
    assert len(network.half_registered) == 2
    assert channel.log is not None
    assert [each.command for each in channel.log.events(channel.log.kept)][:2] == ["JOIN", "TOPIC"]
    assert list(network.accounts.by_name) == ["alice", "bob"]


def test_what_it_waits_for_is_found_where_it_is_now(application: Application) -> None:
    network = application.services["irc"]
    assert isinstance(network, IrcNetwork)
    assert type(network.waiting_room) is WaitingRoom
    assert network.sweeper is not None
    assert network.sweeper.function == network.sweep
    session = next(iter(network.half_registered))
    assert isinstance(session, Session)
    assert session.check is not None
    assert session.check.then is connection._checked
