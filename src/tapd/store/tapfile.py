"""The TAP file's format: pickle, manifest, footer.

Pure but for `read_tail` and `read_manifest`, which read the end of a file.

A TAP is

    pickle      of one Application; ``pickle.load(open("telnet.tap", "rb"))``
                stops at its end and returns the Application (the pickle of an
                archived generation is compressed: gzip, RFC 1952)
    manifest    JSON, for people and for programs that must know what is in a TAP
                without loading it
    footer      144 bytes, little-endian:
                stored_bytes    8   the pickle, as it stands in the file
                pickle_bytes    8   the pickle, once decompressed
                manifest_bytes  8
                encoding        4   0: plain, 1: gzip
                key id          8   which key signed
                pickle digest  32   SHA-256 of the pickle, as it stands
                checksum       32   SHA-256 of all of the manifest and the
                                    footer but this and the signature
                signature      32   HMAC-SHA-256 of the checksum
                format          4   1
                magic           8

Every byte is covered by one of the two digests, and hashed once. The checksum covers the
pickle's digest, so the signature covers the whole file, and yet the manifest can be
verified by itself: a manager learns the ports of a TAP of a gigabyte without reading it.

The checks are, in this order: magic, lengths and checksum, format, digest, key, signature;
then the bytes may be unpickled (promise 7). Later formats keep the footer's layout, so
that an older tapd can tell a newer TAP from a damaged one.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
import types
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from tapd.errors import TapDamaged, TapForeign, TapMissing, TapTooNew
from tapd.store.files import open_regular
from tapd.store.key import Key
from tapd.values import Value

FORMAT = 1
MAGIC = b"\x93TAPD\r\n\x1a"
PLAIN, GZIP = 0, 1

_HEAD = struct.Struct("<QQQI8s32s")
_END = struct.Struct("<I8s")
_DIGEST_BYTES = 32
FOOTER_BYTES = _HEAD.size + 2 * _DIGEST_BYTES + _END.size
_SIGNED_AS = b"tapd tap file 1 "
_GZIP_WBITS = 31  # a gzip header and trailer (zlib.compressobj)

_EARLIER = "go back to an earlier generation (tapctl history) or to a backup"


_NOTHING: Mapping[str, Any] = types.MappingProxyType({})


class Manifest(Value):
    """A TAP's description of itself, readable without loading it.

    Attributes:
        format: of the file.
        generation: counts the saves of an application, across its lineage.
        lineage: the random id of the application, the same in all of its TAPs.
        name: the application's.
        saved_at: in UTC, by ISO 8601.
        python, tapd: the versions that wrote it.
        ports: each with ``address`` and ``service`` (the service's name).
        services: each with ``name`` and ``type``.
        python_path: directories that hold modules of the application.
        globals: every class and function referred to, as ``module:qualname``.
        losses: objects that were not saved, each with ``path``, ``kind`` and ``reason``.
        loss_count: how many there were: `losses` names the first ones only.
        unfit: objects that the saving code could not load, and kept, each as in `losses`.
        unfit_count: how many there were: `unfit` names the first ones only.
        clean: whether it was saved at a clean stop.
        journal: the journal's position, in the journal's own format.
    """

    generation: int
    lineage: str
    name: str
    saved_at: str
    python: str
    tapd: str
    format: int = FORMAT
    ports: tuple[Mapping[str, Any], ...] = ()
    services: tuple[Mapping[str, Any], ...] = ()
    python_path: tuple[str, ...] = ()
    globals: tuple[str, ...] = ()
    losses: tuple[Mapping[str, Any], ...] = ()
    loss_count: int = 0
    unfit: tuple[Mapping[str, Any], ...] = ()
    unfit_count: int = 0
    clean: bool = False
    journal: Mapping[str, Any] = _NOTHING

    def render(self) -> bytes:
        """Return it as JSON."""
        fields = self.as_dict() | {"journal": dict(self.journal)}
        return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse JSON; fields that this version does not know are left out.

        Raises:
            ValueError: it is not a manifest.
        """
        try:
            fields = json.loads(data)
        except RecursionError:
            raise ValueError("it nests too deeply") from None
        if not isinstance(fields, dict):
            raise ValueError("a manifest is a JSON object")  # noqa: TRY004 - as json's own errors
        known = cls.__match_args__
        kept: dict[str, Any] = {
            name: _checked(name, tuple(value) if isinstance(value, list) else value)
            for name, value in fields.items()
            if name in known
        }
        try:
            return cls(**kept)
        except TypeError as error:
            raise ValueError(str(error)) from None


_TYPES: Mapping[str, type[Any]] = {
    "generation": int, "format": int, "loss_count": int, "unfit_count": int,
    "clean": bool, "journal": dict,
    "ports": tuple, "services": tuple, "python_path": tuple, "globals": tuple, "losses": tuple,
    "unfit": tuple,
}  # fmt: skip
"""The types of the manifest's fields; all others are texts."""
_ITEM_TYPES: Mapping[str, type[Any]] = {
    "ports": dict,
    "services": dict,
    "losses": dict,
    "unfit": dict,
}
_NUMBER_MAX = 1 << 48  # more digits don't fit into a file's name


def _checked(name: str, value: Any) -> Any:
    """Return a field of an untrusted manifest, checked to be of its type.

    Raises:
        ValueError: it is of another type.
    """
    kind = _TYPES.get(name, str)
    if type(value) is not kind or (kind is int and not 0 <= value <= _NUMBER_MAX):
        raise ValueError(f"{name!r} is no {kind.__name__} of the kind that it should be")
    item_kind = _ITEM_TYPES.get(name, str)
    if kind is tuple and any(type(item) is not item_kind for item in value):
        raise ValueError(f"{name!r} holds something else than each {item_kind.__name__}")
    return value


class Tail(Value):
    """A TAP's manifest and footer, undamaged but not yet authenticated.

    Attributes:
        source: the file's name in messages.
        key_id: of the key that signed it, by its own account.
        stored_bytes, pickle_bytes: sizes of the pickle in the file and decompressed.
        manifest: parsed on demand; trust it only after `authenticate`.
    """

    source: str
    stored_bytes: int
    pickle_bytes: int
    encoding: int
    key_id: str
    pickle_digest: bytes
    checksum: bytes
    signature: bytes
    manifest_json: bytes

    @property
    def file_bytes(self) -> int:
        """The size of the file."""
        return self.stored_bytes + len(self.manifest_json) + FOOTER_BYTES

    @property
    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            TapDamaged: it is malformed (under a correct checksum: a writer's bug).
        """
        try:
            return Manifest.parse(self.manifest_json)
        except ValueError as error:
            raise TapDamaged(f"{self.source}: its manifest makes no sense ({error})") from error

    def authenticate(self, key: Key) -> None:
        """Check that `key`, or one that it replaced, signed it.

        Raises:
            TapForeign: another key did.
        """
        known = {key.key_id, *(retired.key_id for retired in key.retired)}
        if self.key_id not in known:
            raise TapForeign(
                f"{self.source}: signed with key {self.key_id}, which is not one of this host's"
                f" (key {key.key_id}), so it was not loaded; look at it with tapctl show, and if"
                " it may run here accept it with tapctl trust"
            )
        if not key.verify(_SIGNED_AS + self.checksum, self.signature, self.key_id):
            raise TapForeign(
                f"{self.source}: its signature is forged: somebody without key {self.key_id}"
                " changed it, so it was not loaded; look at it with tapctl show, and find out"
                " who can write there"
            )

    def check_pickle(self, stored: memoryview) -> None:
        """Check the digest of the pickle as it stands in the file.

        Raises:
            TapDamaged: it differs.
        """
        if hashlib.sha256(stored).digest() != self.pickle_digest:
            raise TapDamaged(f"{self.source}: changed since it was written; {_EARLIER}")

    def decode_pickle(self, stored: memoryview) -> memoryview:
        """Return the pickle itself, decompressed where it is archived. Authenticate first."""
        if self.encoding == PLAIN:
            return stored
        inflater = zlib.decompressobj(_GZIP_WBITS)
        bytes_max = min(self.pickle_bytes + 1, sys.maxsize)
        try:
            pickle = inflater.decompress(stored, bytes_max)
        except zlib.error as error:
            raise TapDamaged(f"{self.source}: can't be decompressed ({error})") from error
        if len(pickle) != self.pickle_bytes or not inflater.eof:
            raise TapDamaged(f"{self.source}: its decompressed size is wrong; {_EARLIER}")
        return memoryview(pickle)


def render_tail(
    stored: bytes | memoryview,
    manifest: Manifest,
    key: Key,
    *,
    encoding: int = PLAIN,
    pickle_bytes: int | None = None,
) -> bytes:
    """Render manifest and footer, so that a large pickle is written without a copy.

    Args:
        stored: the pickle as it will stand in the file.
        manifest: of the TAP.
        key: signs it.
        encoding: how `stored` is encoded.
        pickle_bytes: the size decompressed, where that differs.
    """
    body = manifest.render()
    head = _HEAD.pack(
        len(stored),
        len(stored) if pickle_bytes is None else pickle_bytes,
        len(body),
        encoding,
        bytes.fromhex(key.key_id),
        hashlib.sha256(stored).digest(),
    )
    end = _END.pack(manifest.format, MAGIC)
    checksum = hashlib.sha256(body + head + end).digest()
    return b"".join((body, head, checksum, key.sign(_SIGNED_AS + checksum), end))


def render_tap(pickle: bytes, manifest: Manifest, key: Key) -> bytes:
    """Render a whole TAP file from a pickle."""
    return pickle + render_tail(pickle, manifest, key)


def render_archived_tap(pickle: memoryview, manifest: Manifest, key: Key) -> bytes:
    """Render a TAP whose pickle is compressed, for an old generation."""
    deflater = zlib.compressobj(6, zlib.DEFLATED, _GZIP_WBITS)
    stored = deflater.compress(pickle) + deflater.flush()
    tail = render_tail(stored, manifest, key, encoding=GZIP, pickle_bytes=len(pickle))
    return stored + tail


def split_tail(end: memoryview, file_bytes: int, source: str, begin: bytes = b"") -> Tail:
    """Check magic, format, lengths and checksum of a TAP's end, and take it apart.

    Args:
        end: the file's last bytes, with at least the manifest and the footer.
        file_bytes: the whole file's size.
        source: the file's name in messages.
        begin: the file's first bytes, to tell a cut TAP from other files.

    Raises:
        TapDamaged: empty, cut short, changed or not a TAP.
        TapTooNew: in a later format.
    """
    if file_bytes == 0:
        raise TapDamaged(
            f"{source}: the file is empty; {_EARLIER}, or make a new one with tapd-mktap"
        )
    version, magic = _END.unpack(end[-_END.size :]) if len(end) >= FOOTER_BYTES else (0, b"")
    if magic != MAGIC:
        if begin.startswith(b"\x80"):  # PROTO, with which every pickle of ours begins
            raise TapDamaged(f"{source}: cut short, its end is missing; {_EARLIER}")
        raise TapDamaged(f"{source}: not a TAP; name a file made by tapd-mktap or saved by tapd")
    footer_at = len(end) - FOOTER_BYTES
    stored, pickled, manifest_bytes, encoding, key_id, digest = _HEAD.unpack_from(end, footer_at)
    checksum_at = footer_at + _HEAD.size
    checksum = bytes(end[checksum_at : checksum_at + _DIGEST_BYTES])
    signature = bytes(end[checksum_at + _DIGEST_BYTES : -_END.size])
    # In a damaged footer the lengths can be anything: don't slice by them before they fit.
    fits = stored + manifest_bytes + FOOTER_BYTES == file_bytes
    manifest = bytes(end[footer_at - manifest_bytes : footer_at]) if fits else b""
    covered = hashlib.sha256(manifest)
    covered.update(end[footer_at:checksum_at])
    covered.update(end[-_END.size :])
    if covered.digest() != checksum:
        raise TapDamaged(f"{source}: cut or changed since it was written; {_EARLIER}")
    # After the checksum, which tells a later format from a damaged footer.
    if version > FORMAT:
        raise TapTooNew(
            f"{source}: written in format {version} by a later tapd, and this one knows format"
            f" {FORMAT}; install that tapd again, or {_EARLIER}"
        )
    if version < 1 or encoding not in (PLAIN, GZIP):
        raise TapDamaged(f"{source}: format {version}, encoding {encoding} never was; {_EARLIER}")
    return Tail(
        source, stored, pickled, encoding, key_id.hex(), digest, checksum, signature, manifest
    )


def split_tap(data: bytes, source: str) -> tuple[memoryview, Tail]:
    """Check a whole TAP for damage; return its stored pickle and its tail.

    The tail is not authenticated yet: enough to look at the TAP, never to load it.

    Raises:
        TapDamaged: empty, cut short, changed or not a TAP.
        TapTooNew: in a later format.
    """
    view = memoryview(data)
    tail = split_tail(view, len(view), source, data[:2])
    stored = view[: tail.stored_bytes]
    tail.check_pickle(stored)
    return stored, tail


def parse_tap(data: bytes, key: Key, source: str) -> tuple[memoryview, Manifest]:
    """Verify a whole TAP and return its pickle, a view of `data`, and its manifest.

    Raises:
        TapDamaged: empty, cut short, changed or not a TAP.
        TapTooNew: in a later format.
        TapForeign: not signed with `key`.
    """
    stored, tail = split_tap(data, source)
    tail.authenticate(key)
    return tail.decode_pickle(stored), tail.manifest


def read_tail(path: Path) -> Tail:
    """Read the end of the file at `path` and check it for damage, not its pickle.

    Raises:
        TapMissing: there is no such file.
        TapDamaged: empty, cut short, not a TAP, or it can't be read.
        TapTooNew: in a later format.
    """
    try:
        with open_regular(path) as file:
            file_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            begin = file.read(2)
            file.seek(max(0, file_bytes - FOOTER_BYTES))
            end = file.read(FOOTER_BYTES)
            if len(end) == FOOTER_BYTES and end.endswith(MAGIC):
                wanted = min(FOOTER_BYTES + _HEAD.unpack_from(end)[2], file_bytes)
                file.seek(file_bytes - wanted)
                end = file.read(wanted)
    except FileNotFoundError:
        raise TapMissing(f"{path}: there is no such TAP; make one with tapd-mktap") from None
    except OSError as error:
        raise TapDamaged(f"{path}: can't be read ({error.strerror}); {_EARLIER}") from error
    return split_tail(memoryview(end), file_bytes, str(path), begin)


def read_manifest(path: Path, key: Key) -> Manifest:
    """Read and authenticate the manifest of the TAP at `path`, without its pickle.

    Raises:
        TapMissing: there is no such file.
        TapDamaged: empty, cut short, changed or not a TAP.
        TapTooNew: in a later format.
        TapForeign: not signed with `key`.
    """
    tail = read_tail(path)
    tail.authenticate(key)
    return tail.manifest


def first_losses(losses: Iterable[Mapping[str, Any]], count: int = 200) -> dict[str, Any]:
    """Return the manifest's fields on `losses`: the first `count` by name, and how many."""
    every = tuple(losses)
    return {"losses": every[:count], "loss_count": len(every)}
