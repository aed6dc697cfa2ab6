"""The key that signs TAPs: its file, how it is made and rotated, and what it signs.

Loading a pickle runs code of its writer's choice, so a TAP is loaded only if it is signed by
this host's key (promise 7). The key is therefore kept outside of the state directory, out of
reach of processes that can write there.

A key file is text, one key a line: ``tapd-key-1 `` and 64 hexadecimal digits. The first line
signs; TAPs signed with any of the others are still accepted, so a key is rotated by adding
a new line on top. Lines that start with # are comments.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from tapd.errors import KeyUnusable
from tapd.store.files import Files, open_regular, sync_directory, write_temporary

SYSTEM_KEY_PATH = Path("/etc/tapd/key")
CREDENTIAL_NAME = "tapd.key"

_PREFIX = "tapd-key-1"
_SECRET_BYTES = 32
_FILE_BYTES_MAX = 64 * 1024


class Key:
    """A signing key, and the retired keys whose signatures are still accepted.

    Attributes:
        key_id: 16 hexadecimal digits that name the key and reveal nothing of it.
        retired: the other keys of the same file, newest first.
    """

    __slots__ = ("_secret", "_signing", "key_id", "retired")

    def __init__(self, secret: bytes, retired: tuple[Key, ...] = ()) -> None:
        if len(secret) != _SECRET_BYTES:
            raise KeyUnusable(f"a key is {_SECRET_BYTES} bytes, not {len(secret)}; make a new one")
        self._secret = secret
        self._signing = self.derive(b"sign")
        self.key_id = self.derive(b"key id")[:8].hex()
        self.retired = retired

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`: 32 bytes of HMAC-SHA-256."""
        return hmac.digest(self._signing, data, "sha256")

    def verify(self, data: bytes, signature: bytes, key_id: str) -> bool:
        """Whether `signature` is the one of `data` under the key named `key_id`, if known."""
        signer = next((key for key in (self, *self.retired) if key.key_id == key_id), None)
        return signer is not None and hmac.compare_digest(signer.sign(data), signature)

    def derive(self, purpose: bytes) -> bytes:
        """Derive 32 bytes for another purpose; they reveal nothing of the key."""
        return hmac.digest(self._secret, b"tapd derive " + purpose, "sha256")

    def __repr__(self) -> str:
        return f"<Key {self.key_id}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key is never pickled: it must not lie in the state directory")


def parse_key(text: str, source: str) -> Key:
    """Parse a key file's text.

    Raises:
        KeyUnusable: it holds no key, or a malformed line. The message never
            repeats the file's text.
    """
    found: list[bytes] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            prefix, digits = words
            secret = bytes.fromhex(digits)
        except ValueError:
            prefix, secret = "", b""
        if prefix != _PREFIX or len(secret) != _SECRET_BYTES:
            raise KeyUnusable(
                f"{source}: line {number} is not a tapd key; restore the file from a backup, or"
                " move it away, have a new key made and accept your TAPs with tapctl trust"
            )
        found.append(secret)
    if not found:
        raise KeyUnusable(
            f"{source}: holds no key; restore the file from a backup, or remove it, have a new"
            " key made and accept your TAPs with tapctl trust"
        )
    return Key(found[0], tuple(Key(secret) for secret in found[1:]))


def render_new_key() -> str:
    """Return the text of a key file with one new random key."""
    return (
        "# Signs tapd's TAPs. Keep it secret, and apart from them.\n"
        f"{_PREFIX} {os.urandom(_SECRET_BYTES).hex()}\n"
    )


def find_key_path(
    environment: Mapping[str, str], *, is_root: bool, system_path: Path = SYSTEM_KEY_PATH
) -> tuple[Path, bool]:
    """Return the key's path, and whether it is a user's own key, made on first use.

    In this order: the file that TAPD_KEY_FILE names, systemd's credential
    ``tapd.key``, for root the system's key, for others the one in their
    configuration.
    """
    if explicit := environment.get("TAPD_KEY_FILE"):
        return Path(explicit), True
    if directory := environment.get("CREDENTIALS_DIRECTORY"):
        credential = Path(directory, CREDENTIAL_NAME)
        if credential.exists():
            return credential, False
    if is_root:
        return system_path, False
    configuration = environment.get("XDG_CONFIG_HOME", "")
    if not configuration.startswith("/"):  # relative ones are invalid (XDG base directories)
        configuration = str(Path(environment.get("HOME") or "~").expanduser() / ".config")
    return Path(configuration, "tapd", "key"), True


def load_key(
    *,
    create: bool = False,
    environment: Mapping[str, str] | None = None,
    system_path: Path = SYSTEM_KEY_PATH,
    files: Files | None = None,
) -> Key:
    """Load the key of this host or user; a user's own key is made on first use.

    Args:
        create: make the system's key too where it is missing.
        environment: instead of `os.environ`.
        system_path: instead of ``/etc/tapd/key``.
        files: changes the disk.

    Raises:
        KeyUnusable: it is missing, unreadable, readable by others or malformed.
    """
    if environment is None:
        environment = os.environ
    path, is_own = find_key_path(environment, is_root=os.geteuid() == 0, system_path=system_path)
    if (create or is_own) and not os.path.lexists(path):
        _make_key_file(path, files or Files())
    is_credential = path.name == CREDENTIAL_NAME and str(path.parent) == environment.get(
        "CREDENTIALS_DIRECTORY"
    )
    return parse_key(_read_key_file(path, is_credential=is_credential), str(path))


def _read_key_file(path: Path, *, is_credential: bool) -> str:
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            # systemd grants a credential with an ACL, whose mask shows as the group's bits.
            forbidden = stat.S_IRWXO if is_credential else stat.S_IRWXG | stat.S_IRWXO
            if status.st_mode & forbidden:
                raise KeyUnusable(
                    f"{path}: others can read the key (mode {stat.S_IMODE(status.st_mode):04o});"
                    " chmod 600 it, and if they may have read it, have a new one made"
                )
            if status.st_uid not in (0, os.geteuid()):
                raise KeyUnusable(
                    f"{path}: the key belongs to user {status.st_uid}; chown it to the user who"
                    " runs tapd"
                )
            data = file.read(_FILE_BYTES_MAX)
    except FileNotFoundError:
        raise KeyUnusable(
            f"{path}: there is no key to check TAPs with; tapd-mktap makes one as root"
        ) from None
    except OSError as error:
        raise KeyUnusable(
            f"{path}: the key can't be read ({error.strerror}); let the user who runs tapd read it"
        ) from error
    return data.decode("ascii", errors="replace")


def _make_key_file(path: Path, files: Files) -> None:
    """Make a new key file at `path`; where another process is faster, keep its key."""
    try:
        for directory in reversed([path.parent, *path.parent.parents]):
            if not directory.exists():
                with contextlib.suppress(FileExistsError):
                    files.mkdir(directory)
        temporary = write_temporary(files, path, [render_new_key().encode()])
        try:
            with contextlib.suppress(FileExistsError):
                files.link(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                files.unlink(temporary)
        sync_directory(files, path.parent)
    except OSError as error:
        raise KeyUnusable(
            f"{path}: the key can't be made ({error.strerror}); make the directory writable, or"
            " name another file in TAPD_KEY_FILE"
        ) from error
