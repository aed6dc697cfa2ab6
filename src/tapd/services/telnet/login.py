"""The login dialogue: user name, password, and what a wrong one costs.

What a person types here may be a password, at the name's prompt too, by mistake.
So everything typed is kept sealed (`model.seal`), never in the clear, in this
object's attributes; and a name is logged only where an account has it.

The password is checked in a thread, since argon2 takes its time on purpose; the
connection is not read meanwhile, nor during the delay that follows a wrong one.
Both go on after a kill: the check is started again, the delay is a durable timer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tapd import events
from tapd.model.accounts import decoy_hash, verify_password
from tapd.model.persistent import Persistent
from tapd.model.timer import Timer
from tapd.services.telnet.terminal import cells, show

if TYPE_CHECKING:
    from tapd.services.telnet.session import ShellSession

_log = logging.getLogger("tapd.services.telnet")

TYPED_BYTES_MAX = 512
_NAME, _PASSWORD, _VERIFYING, _DELAYED = range(4)


def check_password(password_hash: str | None, password: str) -> bool:
    """Check `password`; None stands for an unknown name and takes as long to refuse."""
    return verify_password(password_hash or decoy_hash(), password) and password_hash is not None


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
    """

    def __init__(self, session: ShellSession) -> None:
        self.session = session
        self.stage = _NAME
        self.typed = b""
        self.name = b""
        self.escape = 0
        self.failures = 0
        self.deadline: Timer | None = None
        self.delay: Timer | None = None

    def begin(self) -> None:
        """Ask for the name, and start the clock."""
        service = self.session.service
        self.deadline = service.application.call_later(service.login_time_s, self.expired)
        self._ask(_NAME)

    @property
    def is_busy(self) -> bool:
        """Whether input has to wait."""
        return self.stage >= _VERIFYING

    def take(self, data: bytes) -> bytes:
        """Take what was typed, up to the end of a line; return the rest."""
        sealer = self.session.service.application.runtime.sealer
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
        self.typed = sealer.seal(bytes(typed)) if typed else b""
        return b""

    def _key(self, byte: int, typed: bytearray, echo: list[str]) -> None:
        """Edit what was typed by one byte, and note what to echo."""
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
                if byte < 0x80 or byte >= 0xC0:  # one star a character
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
                sealer = self.session.service.application.runtime.sealer
                self.name = sealer.seal(name.encode())
                self._ask(_PASSWORD)
            else:
                self._ask(_NAME)
            return
        sealer = self.session.service.application.runtime.sealer
        self.typed = sealer.seal(typed)
        self.stage = _VERIFYING
        self.session.transport.pause_reading()
        self._verify()

    def _given_name(self) -> str:
        sealer = self.session.service.application.runtime.sealer
        return (sealer.open(self.name) or b"").decode()

    def _verify(self) -> None:
        application = self.session.service.application
        password = (application.runtime.sealer.open(self.typed) or b"").decode("utf-8", "replace")
        account = application.authorizer.accounts.get(self._given_name())
        password_hash = None if account is None else account.password_hash
        application.runtime.run_blocking(check_password, (password_hash, password), self.verified)

    def resume(self) -> None:
        """Go on in a new process: a check that was going on is started again."""
        if self.stage == _VERIFYING:
            self._verify()

    def verified(self, matches: Any, error: Any) -> None:
        """Take the check's result."""
        session = self.session
        if session.login is not self or self.stage != _VERIFYING or not session.is_connected:
            return
        name = self._given_name()
        self.typed = b""
        account = session.service.application.authorizer.accounts.get(name)
        if error is None and matches and account is not None:
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
        _log.warning(
            "login failed from %s%s: %s",
            self.session.peer,
            f" as {known!a}" if known else "",
            why,
            extra=events.LOGIN_REFUSED(TAPD_PEER=self.session.peer, TAPD_USER=ascii(known)[1:-1]),
        )

    def delay_over(self) -> None:
        """Let the next try begin, or end the connection after the last."""
        self.delay = None
        session = self.session
        if not session.is_connected:
            return
        session.out("Login incorrect.\n")
        if self.failures >= session.service.tries_max:
            session.leave()
            return
        self._ask(_NAME)
        session.transport.resume_reading()
        session.ahead_goes_on()

    def expired(self) -> None:
        """End a login that takes too long."""
        self.deadline = None
        if self.session.is_connected and self.session.login is self:
            self._log_refusal("took too long")
            self.session.out("\nLogin timed out.\n")
            self.session.leave()

    def end(self) -> None:
        """Stop the timers: logged in, or the connection is gone."""
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
    return "a UNIX socket"
