"""The login dialogue: user name, password, and delays after wrong ones.

Anything typed here may be a password, even at the name's prompt, by mistake. So all of it
is kept sealed (`model.access.seal`) in this object's attributes, never in the clear; and
a name is logged only if an account has it.

A thread checks the password (`model.access.check`); the connection is not read meanwhile,
nor during the delay after a wrong one. Both go on after a kill: the check starts again,
the delay is a durable timer. If too many checks are queued, the person is told, and the
connection is closed.

Before login, a connection may send `INPUT_BYTES_MAX`, telnet's own commands included. The
rest stays in the kernel: it is read after a login; without one, it closes the connection.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tapd import events
from tapd.model.access.accounts import Account, decoy_hash, verify_password
from tapd.model.access.check import SecretCheck, Work
from tapd.model.access.peers import group_of_host, group_of_peer
from tapd.model.durable.persistent import Persistent
from tapd.model.timer import Timer
from tapd.wire.terminal.keys import cells, show

if TYPE_CHECKING:
    from tapd.services.telnet.session import ShellSession

_log = logging.getLogger("tapd.services.telnet")

INPUT_BYTES_MAX = 4096
"""Limit of all input before login."""
TYPED_BYTES_MAX = 512
LINES_AT_ONCE = 3
"""Failed logins that are logged individually; more within 10 s are counted."""
UNIX_PEER = "a UNIX socket"
_NAME, _PASSWORD, _VERIFYING, _DELAYED = range(4)


def check_password(password_hash: str | None, password: str) -> bool:
    """Check `password`; None stands for an unknown name and takes as long to refuse."""
    return verify_password(password_hash or decoy_hash(), password) and password_hash is not None


class LoginCheck(SecretCheck):
    """The check of a typed password."""

    session: ShellSession

    def work(self, secret: str) -> Work:
        """Return a check against the account's present hash."""
        login = self.session.login
        account = None if login is None else login.given_account()
        return check_password, (None if account is None else account.password_hash, secret)

    def group(self) -> str:
        """Return the group of the client's address."""
        session = self.session
        if session.peer == UNIX_PEER:
            return group_of_peer(None, session.transport.get_extra_info("socket"))
        return group_of_host(session.peer.rpartition(":")[0].strip("[]"))

    def answered(self, result: Any, error: Any) -> None:
        """Deliver the result to the login."""
        if self.session.login is not None:
            self.session.login.verified(matches=bool(result), error=error)


class Login(Persistent):
    """One connection's way to an account.

    Attributes:
        session: whose login it is.
        stage: name, password, being verified, or waiting after a failure.
        typed: the bytes typed for the current prompt, sealed; b"" for none.
        name: the user name given, sealed.
        escape: how far an escape sequence (an arrow key) was read; it is ignored.
        failures: how many passwords were wrong.
        deadline: the timer that ends a login that takes too long.
        delay: the timer that ends the wait after a wrong password.
        input_bytes: what the connection has sent.
    """

    persistence_version = 2

    input_bytes = 0

    def __init__(self, session: ShellSession) -> None:
        self.session = session
        self.stage = _NAME
        self.typed = b""
        self.name = b""
        self.escape = 0
        self.failures = 0
        self.deadline: Timer | None = None
        self.delay: Timer | None = None

    def upgrade_to_version_2(self) -> None:
        """Make the check that goes on an object of its own."""
        if self.stage == _VERIFYING:
            self.session.check = LoginCheck(self.session, self.typed)
            self.typed = b""

    def begin(self) -> None:
        """Ask for the name, and start the clock."""
        service = self.session.service
        self.deadline = service.application.call_later(service.login_time_s, self.expired)
        self.limit_input()
        self._ask(_NAME)

    def limit_input(self) -> None:
        """Limit input before login; close the connection if it sent more."""
        session = self.session
        if session.login is not self or session.leaving:
            return
        left = INPUT_BYTES_MAX - self.input_bytes
        if left >= 0 or self.is_busy:
            # One byte over the limit shows that it was exceeded.
            session.transport.set_read_limit(max(left, 0) + 1)
            return
        self._turn_away(
            f"More than {INPUT_BYTES_MAX // 1024} KiB were sent before the login.",
            "too much input",
        )

    def _turn_away(self, text: str, why: str) -> None:
        """Show `text`, log `why`, and close."""
        self.session.out(f"\n{text}\n")
        self._log_refusal(why)
        self.session.leave()

    @property
    def is_busy(self) -> bool:
        """Whether input has to wait."""
        return self.stage >= _VERIFYING

    def take(self, data: bytes) -> bytes:
        """Handle typed bytes up to the end of a line; return the rest."""
        sealer = self.session.service.sealer
        typed = bytearray(sealer.open(self.typed) or b"" if self.typed else b"")
        echo: list[str] = []
        position = 0
        while position < len(data):
            byte = data[position]
            position += 1
            if byte == 0x0A:
                self._echo(echo, "\n")
                self.typed = b""
                self._entered(bytes(typed))
                return data[position:]
            if byte in (0x03, 0x04):
                self._echo(echo, "\n")
                self.session.leave()
                return b""
            self._key(byte, typed, echo)
            if len(typed) > TYPED_BYTES_MAX:
                self._echo(echo, "\n")
                self.session.out("That is too long.\n")
                self._log_refusal("input too long")
                self.session.leave()
                return b""
        self._echo(echo)
        # Sealed once per read, not per key.
        self.typed = sealer.seal(bytes(typed)) if typed else b""
        return b""

    def _key(self, byte: int, typed: bytearray, echo: list[str]) -> None:
        """Apply one byte to the typed text, and collect the echo."""
        if self.escape:
            # ESC [ ... final, ESC O final, or ESC and one character
            ends = 0x40 <= byte < 0x7F if self.escape == 2 else byte not in b"[O"
            self.escape = 0 if ends else 2
        elif byte == 0x1B:
            self.escape = 1
        elif byte in (0x08, 0x7F):
            self._erase(typed, echo, 1)
        elif byte == 0x15:  # C-u
            self._erase(typed, echo, len(typed))
        elif byte >= 0x20:
            typed.append(byte)
            if self.stage == _PASSWORD:
                if byte < 0x80 or byte >= 0xC0:  # one star per character
                    echo.append("*")
            else:
                echo.append(_completed(typed))

    def _erase(self, typed: bytearray, echo: list[str], count: int) -> None:
        text = typed.decode("utf-8", "replace")
        kept, gone = (text[:-count], text[-count:]) if count < len(text) else ("", text)
        typed[:] = kept.encode()
        shown = "*" * len(gone) if self.stage == _PASSWORD else show(gone)
        echo.append("\b \b" * sum(map(cells, shown)))

    def _echo(self, echo: list[str], end: str = "") -> None:
        if self.session.wire.is_echoing:
            self.session.out("".join(echo) + end)

    def _ask(self, stage: int) -> None:
        self.stage = stage
        self.session.ask_echo(secret=stage == _PASSWORD)
        self.session.out("password: " if stage == _PASSWORD else "username: ")

    def _entered(self, typed: bytes) -> None:
        if self.stage == _NAME:
            name = typed.decode("utf-8", "replace").strip()
            if name:
                self.name = self.session.service.sealer.seal(name.encode())
                self._ask(_PASSWORD)
            else:
                self._ask(_NAME)
            return
        # Input during the check stays in the kernel.
        self.stage = _VERIFYING
        self.session.transport.pause_reading()
        self._check(LoginCheck(self.session, self.session.service.sealer.seal(typed)))

    def _check(self, check: LoginCheck) -> None:
        refused = check.begin()
        if refused:
            self._turn_away(f"{refused}; try again later.", "too many are being checked")

    def _given_name(self) -> str:
        return (self.session.service.sealer.open(self.name) or b"").decode()

    def given_account(self) -> Account | None:
        """Return the account of the given name; None if there is none."""
        return self.session.service.application.authorizer.accounts.get(self._given_name())

    def resume(self) -> None:
        """Go on in a new process: restart a check that was under way."""
        self.limit_input()
        check = self.session.check
        if check is not None:
            self._check(check)

    def verified(self, *, matches: bool, error: Any) -> None:
        """Handle the check's result."""
        session = self.session
        name, account = self._given_name(), self.given_account()
        if matches and account is not None:
            self.end()
            session.logged_in(account)
            return
        if error is not None:
            _log.error("checking a password failed: %r", error)
        self.failures += 1
        self.name = b""
        self._log_refusal("wrong password" if account else "no such account", name, account)
        service = session.service
        self.stage = _DELAYED
        delay_s = service.failure_delay_s * 2 ** (self.failures - 1)
        self.delay = service.application.call_later(delay_s, self.delay_over)

    def _log_refusal(self, why: str, name: str = "", account: object = None) -> None:
        known = name if account is not None else ""
        peer = self.session.peer
        self.session.runtime.tell(
            _log,
            "login failed",
            f"login failed from {peer}{f' as {known!a}' if known else ''}: {why}",
            peer=peer.rpartition(":")[0] or peer,
            level=logging.WARNING,
            at_once=LINES_AT_ONCE,
            extra=events.LOGIN_REFUSED(TAPD_PEER=peer, TAPD_USER=ascii(known)[1:-1]),
        )

    def delay_over(self) -> None:
        """Start the next try, or close the connection after the last."""
        self.delay = None
        session = self.session
        if not session.is_connected:
            return
        session.out("Login incorrect.\n")
        if self.failures >= session.service.tries_max:
            session.leave()
            return
        self._ask(_NAME)
        self.limit_input()
        if session.leaving:
            return
        session.ahead_goes_on()

    def expired(self) -> None:
        """Time out a login."""
        self.deadline = None
        if self.session.is_connected and self.session.login is self:
            self._log_refusal("took too long")
            self.session.out("\nLogin timed out.\n")
            self.session.leave()

    def end(self) -> None:
        """Stop the timers: logged in, or the connection ended."""
        for timer in (self.deadline, self.delay):
            if timer is not None:
                timer.cancel()
        self.deadline = self.delay = None


def _completed(typed: bytearray) -> str:
    """Return the character that the last byte of `typed` completes, else ""."""
    for size in range(1, min(4, len(typed)) + 1):
        if typed[-size] < 0x80 or typed[-size] >= 0xC0:
            try:
                return show(typed[-size:].decode())
            except UnicodeDecodeError:
                return ""
    return ""


def render_peer(peername: Any) -> str:
    """Return a socket address as people write it."""
    if isinstance(peername, tuple) and len(peername) >= 2:
        host, port = peername[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return UNIX_PEER
