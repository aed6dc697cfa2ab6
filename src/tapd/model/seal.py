"""Secrets in the state, such as a half-typed password: kept, never in the clear.

A half-typed password must survive a kill like any other input, yet a journal on
disk must not show it. A `Sealer` encrypts short values with a key derived from
the one that signs TAPs; both come from the service manager, never from the
state directory. The stream cipher and the tag are keyed BLAKE2b (RFC 7693).
"""

from __future__ import annotations

import hashlib
import hmac
import os

_NONCE_BYTES = 16
_TAG_BYTES = 16


class Sealer:
    """Seals and opens short secrets with one key."""

    def __init__(self, key: bytes) -> None:
        self._stream_key = hashlib.blake2b(key, person=b"tapd seal stream").digest()
        self._tag_key = hashlib.blake2b(key, person=b"tapd seal tag   ").digest()

    def _stream(self, nonce: bytes, size: int) -> bytes:
        blocks = (
            hashlib.blake2b(nonce + index.to_bytes(8, "big"), key=self._stream_key).digest()
            for index in range(size // 64 + 1)
        )
        return b"".join(blocks)[:size]

    def _tag(self, nonce: bytes, sealed: bytes) -> bytes:
        return hashlib.blake2b(nonce + sealed, key=self._tag_key, digest_size=_TAG_BYTES).digest()

    def seal(self, secret: bytes) -> bytes:
        """Return `secret` encrypted: nonce, tag and ciphertext."""
        nonce = os.urandom(_NONCE_BYTES)
        stream = self._stream(nonce, len(secret))
        sealed = bytes(a ^ b for a, b in zip(secret, stream, strict=True))
        return nonce + self._tag(nonce, sealed) + sealed

    def open(self, token: bytes) -> bytes | None:
        """Return the secret in `token`, or None where it was sealed with another key."""
        nonce = token[:_NONCE_BYTES]
        tag = token[_NONCE_BYTES : _NONCE_BYTES + _TAG_BYTES]
        sealed = token[_NONCE_BYTES + _TAG_BYTES :]
        if not hmac.compare_digest(tag, self._tag(nonce, sealed)):
            return None
        stream = self._stream(nonce, len(sealed))
        return bytes(a ^ b for a, b in zip(sealed, stream, strict=True))
