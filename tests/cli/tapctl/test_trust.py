"""tapctl trust."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from tap_commands import Hostile, run, run_json

from tapd.errors import TapDamaged
from tapd.model.durable.persistent import Persistent
from tapd.store.adoption import find_strangers, names_of_all, sign_all
from tapd.store.generations import Store
from tapd.store.journal.records import render_settled, render_turn
from tapd.store.key import Key, load_key
from tapd.store.state import State
from tapd.store.tapfile import read_tail, render_tap


@pytest.mark.usefixtures("tap")
def test_trust_signs_with_this_hosts_key(tmp_path: Path) -> None:
    (tmp_path / "key").unlink()  # as on another host
    Path("telnet-shutdown.tap").rename("moved.tap")
    with pytest.raises(Exception, match="tapctl trust"):
        Store(Path("moved.tap"), load_key()).load()
    result = run("trust", "moved.tap", answer="y\n")
    assert result.exit_code == 0, result.output
    assert "tapd.model.application:Application" in result.output
    assert Store(Path("moved.tap"), load_key()).load().application.mark == "three"
    assert "already" in run("trust", "moved.tap").output


@pytest.mark.parametrize("text", [b"", b"tapd jour", b"tapd journal 1\n"])
def test_trust_takes_over_an_application_whose_journal_is_empty(
    tap: Path, tmp_path: Path, text: bytes
) -> None:
    """A power cut can empty one; in it nothing has a signature."""
    journal = Store(tap, load_key()).journal_path(3)
    journal.write_bytes(text)
    (tmp_path / "key").unlink()
    assert run("trust", "telnet", "--yes").exit_code == 0
    state = State(tap, load_key())
    with state.store.lock():
        assert state.restore().application.mark == "three"
        state.open_journal("boot").close()


def test_trust_takes_over_all_of_an_application(tap: Path, tmp_path: Path) -> None:
    """To sign NAME.tap alone would have the next start load the oldest state there is."""
    state = State(tap, load_key())
    with state.store.lock():
        restored = state.restore()
        journal = state.open_journal("boot")
        restored.application.mark = "journaled"
        restored.application.later = Late()
        changes = restored.jar.commit()
        journal.append(render_turn([], [], [], changes, []))
        journal.append(render_settled())
        journal.close()
    torn = state.store.journal_path(3)
    torn.write_bytes(torn.read_bytes() + b"\x09\0\0\0 torn")
    shutdown = tap.with_name("telnet-shutdown.tap")
    assert shutdown.samefile(state.store.generation_path(3))
    (tmp_path / "key").unlink()
    assert run("verify", "telnet").exit_code == 77
    asked = run("trust", "telnet", answer="n\n")
    assert asked.exit_code == 1
    for named in (
        "generation 1\n",
        "generation 2\n",
        "generation 3\n",
        "journal-00000003: 3 records",
    ):
        assert named in asked.output
    assert f"  {Late.__module__}:Late\n" in asked.output  # it is in the journal only
    assert run("verify", "telnet").exit_code == 77
    assert "(5 files)" in run("trust", "telnet", "--yes").output
    assert run("verify", "telnet").exit_code == 0
    assert shutdown.samefile(state.store.generation_path(3))
    again = State(tap, load_key())
    with again.store.lock():
        restored = again.restore()
    assert restored.application.mark == "journaled"
    assert restored.application.later.it == 7
    assert "already" in run("trust", "telnet").output


def test_trust_leaves_what_is_damaged_and_says_so(tap: Path, tmp_path: Path) -> None:
    (tmp_path / "key").unlink()
    damaged = tap.with_name("telnet.d") / "generation-00000002.tap"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    result = run("trust", "telnet", "--yes")
    assert result.exit_code == 0
    assert "left as it is" in result.output
    assert [entry["error"] is None for entry in run_json("history", tap)] == [True, False, True]


def test_trust_refuses_a_pickle_that_was_changed(tap: Path, tmp_path: Path) -> None:
    (tmp_path / "key").unlink()
    shutdown = tap.with_name("telnet-shutdown.tap")
    data = bytearray(shutdown.read_bytes())
    data[100] ^= 1
    shutdown.write_bytes(data)
    assert run("trust", "telnet", "--yes").exit_code == 65


def test_nothing_is_signed_but_what_was_looked_at(tap: Path, tmp_path: Path) -> None:
    """Whoever can write there could exchange a TAP while the person reads."""
    (tmp_path / "key").unlink()
    store = Store(tap, load_key())
    strangers = find_strangers(store)
    names_of_all(strangers)
    generation = store.generation_path(2)
    manifest = read_tail(generation).manifest
    other = render_tap(pickle.dumps(Hostile(), 5), manifest, Key(bytes(32)))
    generation.write_bytes(other)
    for act in (lambda: names_of_all(strangers), lambda: sign_all(store, strangers)):
        with pytest.raises(TapDamaged, match="looked at"):
            act()
    assert generation.read_bytes() == other


class Late(Persistent):
    it = 7
