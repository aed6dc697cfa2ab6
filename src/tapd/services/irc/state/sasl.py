"""SASL mechanisms, server side: bytes in, bytes or a result out.

PLAIN (RFC 4616) and SCRAM-SHA-256 (RFC 5802, RFC 7677). An `Exchange` is durable and can
continue in another process. Secrets in it are sealed by the caller; a password is never
kept between two steps.

To add a mechanism: a subclass of `Exchange` and a line in `MECHANISMS`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from tapd.errors import UsageError
from tapd.model.durable.persistent import Persistent
from tapd.services.irc.state.accounts import Accounts, ScramKeys, prepare_password

MESSAGE_BYTES_MAX = 2048
"""The longest message of a client, in base64; twice name and password needs half of it."""


class Challenge(NamedTuple):
    """A message for the client, which then continues."""

    data: bytes


class Candidate(NamedTuple):
    """A name and a password to check."""

    account: str
    password: str


class Proved(NamedTuple):
    """The client is proved to own the account; `data` is the last message to it."""

    account: str
    data: bytes = b""


class Failed(NamedTuple):
    """The exchange has failed.

    Attributes:
        reason: for the log; the client learns only that it failed.
        data: SCRAM's error for the client (RFC 5802 section 7); b"" for none.
    """

    reason: str
    data: bytes = b""


Step = Challenge | Candidate | Proved | Failed


class Exchange(Persistent):
    """One exchange of a mechanism."""

    name: ClassVar[str]

    def step(self, data: bytes, accounts: Accounts) -> Step:
        """Handle the client's next message, decoded; return the next step."""
        raise NotImplementedError


class Plain(Exchange):
    """PLAIN (RFC 4616): authorization id, name and password, with NULs between."""

    name = "PLAIN"

    def step(self, data: bytes, accounts: Accounts) -> Step:
        """Handle the only message."""
        parts = data.split(b"\0")
        if len(parts) != 3:
            return Failed("not three parts")
        try:
            authorization, name, password = (part.decode() for part in parts)
            prepared = prepare_password(password)
        except (UnicodeDecodeError, UsageError):
            return Failed("not in UTF-8, or no password")
        if not name or not prepared:
            return Failed("no name or no password")
        if authorization not in ("", name):
            return Failed("to act for another account is not offered")
        return Candidate(name, prepared)


class ScramSha256(Exchange):
    """SCRAM-SHA-256 (RFC 5802 section 5): the password is never sent.

    Attributes:
        account: as the client named it; "" before its first message.
        keys: of that account when it was named.
        nonce: both sides' together.
        spoken: the messages so far, as the proof covers them.
    """

    name = "SCRAM-SHA-256"
    account = ""
    keys: ScramKeys | None = None
    nonce = ""
    spoken = b""
    header = b""
    is_done = False

    def step(self, data: bytes, accounts: Accounts) -> Step:
        """Handle the client's first or final message."""
        if self.is_done:  # the empty answer to the last message
            return Proved(self.account) if not data else Failed("more than was asked for")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return Failed("not in UTF-8", b"e=invalid-encoding")
        return self._first(text, accounts) if self.keys is None else self._final(text)

    def _first(self, text: str, accounts: Accounts) -> Step:
        flag, comma, rest = text.partition(",")
        authorization, comma2, bare = rest.partition(",")
        if not comma or not comma2 or flag[:1] not in ("n", "y", "p"):
            return Failed("no GS2 header", b"e=other-error")
        if flag[:1] == "p":
            return Failed("channel binding is not offered", b"e=channel-binding-not-supported")
        fields = _parse_fields(bare)
        # A mandatory extension ("m=") would stand first, and none is known.
        if fields is None or list(fields)[:2] != ["n", "r"] or not (fields["n"] and fields["r"]):
            return Failed("not a first message", b"e=other-error")
        if authorization and authorization != f"a={fields['n']}":
            return Failed("to act for another account is not offered", b"e=other-error")
        try:
            self.account = prepare_password(_unescape(fields["n"]))
        except UsageError:
            return Failed("no name", b"e=invalid-username-encoding")
        self.header = f"{flag},{authorization},".encode()
        return self._challenge(bare, fields["r"], accounts.scram_keys(self.account))

    def _challenge(self, bare: str, client_nonce: str, keys: ScramKeys) -> Challenge:
        self.keys = keys
        self.nonce = client_nonce + secrets.token_urlsafe(18)
        salt = base64.b64encode(keys.salt).decode()
        reply = f"r={self.nonce},s={salt},i={keys.iterations}".encode()
        self.spoken = bare.encode() + b"," + reply
        return Challenge(reply)

    def _final(self, text: str) -> Step:
        assert self.keys is not None
        without_proof, comma, proof_field = text.rpartition(",p=")
        fields = _parse_fields(without_proof)
        if not comma or fields is None or list(fields)[:2] != ["c", "r"]:
            return Failed("not a final message", b"e=other-error")
        if fields["r"] != self.nonce:
            return Failed("another nonce", b"e=other-error")
        header, proof = _decode(fields["c"]), _decode(proof_field)
        if header != self.header or proof is None or len(proof) != 32:
            return Failed("another header, or no proof", b"e=channel-bindings-dont-match")
        message = self.spoken + b"," + without_proof.encode()
        signature = hmac.digest(self.keys.stored_key, message, "sha256")
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), self.keys.stored_key):
            return Failed("wrong password", b"e=invalid-proof")
        self.is_done = True
        verifier = hmac.digest(self.keys.server_key, message, "sha256")
        return Challenge(b"v=" + base64.b64encode(verifier))


def _parse_fields(text: str) -> dict[str, str] | None:
    """Return ``a=x,b=y`` as a dict in its order; None if it is malformed."""
    fields = {}
    for part in text.split(","):
        if len(part) < 2 or part[1] != "=":
            return None
        fields[part[0]] = part[2:]
    return fields


def _unescape(name: str) -> str:
    """Decode a name of SCRAM (RFC 5802 section 5.1).

    Raises:
        UsageError: it is malformed.
    """
    rest = name.replace("=2C", "").replace("=3D", "")
    if "=" in rest:
        raise UsageError("a name with an = that is not escaped")
    return name.replace("=2C", ",").replace("=3D", "=")


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def decode_message(text: str) -> bytes | None:
    """Return a whole message of AUTHENTICATE, decoded; None if it is not base64."""
    return b"" if text == "+" else _decode(text)


MECHANISMS: Mapping[str, type[Exchange]] = {
    mechanism.name: mechanism for mechanism in (Plain, ScramSha256)
}
"""The offered mechanisms, by name."""
