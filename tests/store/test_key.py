"""The signing key: its location, its creation, and that it is never shown."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest

from tapd.errors import KeyUnusable
from tapd.store.files import Files
from tapd.store.key import Key, find_key_path, load_key, parse_key, render_new_key

SECRET = bytes(range(32))


def _write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_signature_is_of_the_data_and_the_key() -> None:
    key = Key(SECRET)
    signature = key.sign(b"data")
    assert key.verify(b"data", signature, key.key_id)
    assert not key.verify(b"date", signature, key.key_id)
    assert not Key(bytes(32)).verify(b"data", signature, key.key_id)
    assert not Key(bytes(32)).verify(b"data", signature, Key(bytes(32)).key_id)


def test_nothing_public_shows_the_secret() -> None:
    key = Key(SECRET)
    for shown in (repr(key), str(key), key.key_id, key.derive(b"x").hex(), f"{key!r}"):
        assert SECRET.hex() not in shown
        assert SECRET[:8].hex() not in shown
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(key)


def test_derived_keys_differ_by_purpose_and_from_signatures() -> None:
    key = Key(SECRET)
    assert key.derive(b"seal") == Key(SECRET).derive(b"seal")
    assert len({key.derive(b"seal"), key.derive(b"journal"), key.sign(b"seal"), SECRET}) == 4


def test_a_rotated_key_still_verifies_what_the_old_one_signed() -> None:
    old_text, new_text = render_new_key(), render_new_key()
    old = parse_key(old_text, "old")
    both = parse_key(new_text + old_text, "both")
    assert both.key_id == parse_key(new_text, "new").key_id
    assert both.verify(b"data", old.sign(b"data"), old.key_id)
    assert not parse_key(new_text, "new").verify(b"data", old.sign(b"data"), old.key_id)


@pytest.mark.parametrize(
    "text",
    ["", "# only a comment\n", "tapd-key-1\n", "tapd-key-1 00\n", f"tapd-key-2 {SECRET.hex()}\n",
     f"tapd-key-1 {SECRET.hex()}zz\n", f"tapd-key-1 {SECRET.hex()} x\n", "\0\0\0\0",
     render_new_key() + "rubbish\n"],
)  # fmt: skip
def test_a_malformed_key_is_refused_in_one_line_without_its_text(text: str) -> None:
    with pytest.raises(KeyUnusable) as caught:
        parse_key(text, "/some/key")
    message = str(caught.value)
    assert message.startswith("/some/key: ")
    assert "\n" not in message
    assert "restore the file" in message
    assert SECRET.hex()[:10] not in message


def test_the_order_of_places(tmp_path: Path) -> None:
    system = tmp_path / "etc" / "key"
    credentials = tmp_path / "credentials"
    home = {"HOME": str(tmp_path / "home")}
    systemd = home | {"CREDENTIALS_DIRECTORY": str(credentials)}

    def find(environment: dict[str, str], *, is_root: bool) -> Path:
        return find_key_path(environment, is_root=is_root, system_path=system)[0]

    assert find(home, is_root=False) == tmp_path / "home/.config/tapd/key"
    assert find(home | {"XDG_CONFIG_HOME": "/xdg"}, is_root=False) == Path("/xdg/tapd/key")
    assert find(home | {"XDG_CONFIG_HOME": "xdg"}, is_root=False).parent.parent.name == ".config"
    assert find(home, is_root=True) == system
    assert find(systemd, is_root=True) == system  # no such credential was given
    _write(credentials / "tapd.key", render_new_key(), 0o400)
    assert find(systemd, is_root=True) == credentials / "tapd.key"
    assert find(systemd | {"TAPD_KEY_FILE": "/k"}, is_root=True) == Path("/k")


def test_a_persons_key_is_made_on_first_use_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "config" / "tapd" / "key"
    environment = {"TAPD_KEY_FILE": str(path)}
    key = load_key(environment=environment)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o700
    assert load_key(environment=environment).key_id == key.key_id
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the system's key is root's")
def test_the_systems_key_is_made_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "tapd" / "key"
    with pytest.raises(KeyUnusable, match="tapd-mktap makes one"):
        load_key(environment={}, system_path=path)
    assert not path.parent.exists()
    key = load_key(create=True, environment={}, system_path=path)
    assert load_key(environment={}, system_path=path).key_id == key.key_id


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = _write(tmp_path / "key", render_new_key(), mode)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        load_key(environment={"TAPD_KEY_FILE": str(path)})


def test_a_credential_may_show_the_groups_bits_of_its_acl(tmp_path: Path) -> None:
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    path = _write(tmp_path / "tapd.key", render_new_key(), 0o440)
    assert load_key(environment=environment).key_id
    path.chmod(0o444)
    with pytest.raises(KeyUnusable, match="others can read"):
        load_key(environment=environment)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    with pytest.raises(KeyUnusable, match="can't be read"):
        load_key(environment={"TAPD_KEY_FILE": str(tmp_path / "key")})
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(KeyUnusable, match="can't be read"):
        load_key(environment={"TAPD_KEY_FILE": str(tmp_path / "loop")})
    with pytest.raises(KeyUnusable, match="not a regular file"):
        load_key(environment={"TAPD_KEY_FILE": "/dev/null"})
    os.mkfifo(tmp_path / "fifo", 0o600)  # to open one waits for a writer
    with pytest.raises(KeyUnusable, match="not a regular file"):
        load_key(environment={"TAPD_KEY_FILE": str(tmp_path / "fifo")})


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyUnusable, match="can't be made"):
        load_key(environment={"TAPD_KEY_FILE": str(tmp_path / "file" / "key")})


def test_two_processes_that_make_the_key_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "key"
    environment = {"TAPD_KEY_FILE": str(path)}
    barrier = threading.Barrier(2)

    class Racing(Files):
        """Has both find no key before either links its own into place.

        Threads share a pid, so each gets temporary names of its own here.
        """

        def __init__(self, name: str) -> None:
            self.name = name

        def _own(self, path: Path) -> Path:
            return path.with_name(path.name + self.name) if ".tmp-" in path.name else path

        def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
            return super().open(self._own(path), flags, mode)

        def unlink(self, path: Path) -> None:
            super().unlink(self._own(path))

        def link(self, source: Path, target: Path) -> None:
            barrier.wait()
            super().link(self._own(source), target)

    found: list[str] = []

    threads = [
        threading.Thread(
            target=lambda name=name: found.append(
                load_key(environment=environment, files=Racing(name)).key_id
            )
        )
        for name in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(set(found)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]
