"""Encryption of secrets in the state, such as a half-typed password.

A half-typed password must survive a kill like any other input, yet a journal on
disk must not show it. A `Sealer` encrypts short values with a key derived from
the one that signs TAPs; both come from the service manager, never from the
state directory. The stream cipher is SHAKE256 of key and nonce (FIPS 202), which
gives a key stream of any length in one call into C. The tag is keyed BLAKE2b
(RFC 7693), which covers the nonce as well.

A token begins with `_MARK`. Tokens without it have the older format, whose key stream
was made block by block in Python; they can be opened but are no longer made.
"""

from __future__ import annotations

import hashlib
import hmac
import os

_MARK = b"\x02tap"
_NONCE_BYTES = 16
_TAG_BYTES = 16
_HEAD_BYTES = len(_MARK) + _NONCE_BYTES + _TAG_BYTES


class Sealer:
    """Seals and opens short secrets with one key."""

    def __init__(self, key: bytes) -> None:
        self._stream_key = hashlib.blake2b(key, person=b"tapd seal shake ").digest()
        self._tag_key = hashlib.blake2b(key, person=b"tapd seal mark 2").digest()
        self._old_stream_key = hashlib.blake2b(key, person=b"tapd seal stream").digest()
        self._old_tag_key = hashlib.blake2b(key, person=b"tapd seal tag   ").digest()

    def _tag(self, nonce: bytes, sealed: bytes) -> bytes:
        return hashlib.blake2b(nonce + sealed, key=self._tag_key, digest_size=_TAG_BYTES).digest()

    def _stream(self, nonce: bytes, size: int) -> bytes:
        return hashlib.shake_256(self._stream_key + nonce).digest(size)

    def seal(self, secret: bytes) -> bytes:
        """Return `secret` encrypted: mark, nonce, tag and ciphertext."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = _xor(secret, self._stream(nonce, len(secret)))
        return _MARK + nonce + self._tag(nonce, sealed) + sealed

    def open(self, token: bytes) -> bytes | None:
        """Return the secret in `token`, or None if it was sealed with another key."""
        if token.startswith(_MARK):
            nonce = token[len(_MARK) : len(_MARK) + _NONCE_BYTES]
            tag, sealed = token[_HEAD_BYTES - _TAG_BYTES : _HEAD_BYTES], token[_HEAD_BYTES:]
            if hmac.compare_digest(tag, self._tag(nonce, sealed)):
                return _xor(sealed, self._stream(nonce, len(sealed)))
        return self._open_old(token)  # an old token's nonce may begin like the mark by chance

    def _open_old(self, token: bytes) -> bytes | None:
        """Return the secret in a token of the older format: nonce, tag, ciphertext."""
        nonce = token[:_NONCE_BYTES]
        tag = token[_NONCE_BYTES : _NONCE_BYTES + _TAG_BYTES]
        sealed = token[_NONCE_BYTES + _TAG_BYTES :]
        own = hashlib.blake2b(nonce + sealed, key=self._old_tag_key, digest_size=_TAG_BYTES)
        if not hmac.compare_digest(tag, own.digest()):
            return None
        blocks = (
            hashlib.blake2b(nonce + index.to_bytes(8, "big"), key=self._old_stream_key).digest()
            for index in range(len(sealed) // 64 + 1)
        )
        return _xor(sealed, b"".join(blocks)[: len(sealed)])


def _xor(data: bytes, stream: bytes) -> bytes:
    """Return `data` xor `stream`, of the same length; in C."""
    mixed = int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")
    return mixed.to_bytes(len(data), "little")
