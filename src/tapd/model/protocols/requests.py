"""Request-reply protocols over lines or frames, with replies in order; both ends.

Requests may be pipelined: replies leave in the order of their requests, whenever each is
ready. A reply that is not ready at once is a `Later`, a durable object: a timer, another
connection or a later process completes it.

    class Stock(RequestProtocol):
        def request_received(self, request: str) -> str | Later | None:
            if request == "now":
                return "42"
            later = self.reply_later()
            self.service.application.call_later(5, later.reply, "42 in the end")
            return later

The asking end keeps, for each request, the method that takes the reply::

    upstream.ask("now", self.price_known)

Such a method is a bound method of a durable object, so whichever process gets the reply
can call it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from tapd.errors import AuthorError, InputTooLong, PeerError
from tapd.model.callbacks import check_callback
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDeque
from tapd.model.protocol import Protocol
from tapd.model.protocols.frames import FrameProtocol
from tapd.model.protocols.lines import LineProtocol
from tapd.model.protocols.partial import SKIPPED

_log = logging.getLogger(__name__)

_WRONG_KIND = "{0} replies (or asks) {1!r}: return {2}, or override render_reply"


class Later(Persistent):
    """The promise of a reply, made by `reply_later`; it survives the process.

    Keep it anywhere in the state, or keep its `reply` (a bound method) in a timer.

    Attributes:
        protocol: the protocol of the connection that waits for it.
        is_answered: whether the reply was given. It may be queued behind earlier ones.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.is_answered = False
        self.message: bytes | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether the connection still waits for it."""
        return not self.is_answered and self.protocol.is_connected

    def reply(self, reply: Any = None) -> None:
        """Give the reply, as `request_received` would return it; None sends none.

        Only once: further replies, and replies after the connection ended, are dropped.
        """
        if self.is_wanted:
            protocol: Any = self.protocol
            self._answer(None if reply is None else protocol.render_reply(reply))

    def fail(self, error: Exception | str) -> None:
        """Reply with an error."""
        if self.is_wanted:
            protocol: Any = self.protocol
            self._answer(
                protocol.render_error(PeerError(error) if isinstance(error, str) else error)
            )

    def _answer(self, message: bytes | None) -> None:
        self.message = message
        self.is_answered = True
        protocol: Any = self.protocol
        protocol.send_answered()


class _Requests(Protocol):
    """The common part of `RequestProtocol` and `FrameRequestProtocol`.

    Attributes:
        requests_max: how many requests may wait for their replies before reading pauses.
    """

    requests_max: int = 1024

    _owed: TrackedDeque[Later] | None = None
    _asked: TrackedDeque[tuple[Callable[..., object], tuple[Any, ...]]] | None = None
    _v_has_promised = False  # made by reply_later in the current request

    # --- what an author overrides ---------------------------------------------------

    def request_received(self, request: Any) -> Any:
        """Handle one request; return the reply.

        Returns:
            The reply, or the result of `reply_later` if it is not ready yet, or None
            if this request has no reply.

        Raises:
            PeerError: the request is wrong; its message is the error reply (and after
                an `InputTooLong` the connection is closed). Any other
                exception is logged, and the peer gets an internal error. State changes
                made before the exception stay.
        """
        raise NotImplementedError(f"{type(self).__qualname__}.request_received")

    def render_reply(self, reply: Any) -> bytes:
        """Encode `reply` for sending."""
        raise NotImplementedError

    def render_error(self, error: Exception) -> bytes:
        """Return the error reply to a request that raised `error`."""
        raise NotImplementedError

    def _send_message(self, message: bytes) -> None:
        raise NotImplementedError

    # --- the end that answers ---------------------------------------------------------

    def reply_later(self) -> Later:
        """Return the promise of a reply, for `request_received` to return."""
        self._v_has_promised = True
        return Later(self)

    def _take_message(self, message: Any) -> None:
        if self._asked:
            then, arguments = self._asked.popleft()
            then(message, *arguments)
            return
        if self._v_has_promised:
            self._v_has_promised = False  # from before this request
        try:
            reply = self.request_received(message)
            rendered = (
                None if reply is None or isinstance(reply, Later) else self.render_reply(reply)
            )
        except InputTooLong as error:
            # The announced bytes were not read and must not be parsed as requests.
            self._send_in_order(self.render_error(error))
            self.transport.close()
            return
        except Exception as error:
            self._v_has_promised = False
            reply, rendered = None, self._explain(error)
        if isinstance(reply, Later):
            if reply.protocol is not self:
                raise AuthorError(
                    f"{type(self).__qualname__}.request_received returned the reply_later() of "
                    "another connection; return self.reply_later() and keep that"
                )
            self._owe(reply)
        elif reply is None and self._v_has_promised:
            raise AuthorError(
                f"{type(self).__qualname__}.request_received called reply_later() and returned "
                "None, so that reply would never be sent; return what reply_later() gave"
            )
        elif rendered is not None:
            self._send_in_order(rendered)

    def _explain(self, error: Exception) -> bytes:
        if not isinstance(error, PeerError):
            _log.error(
                "%s.request_received failed; the peer is told so",
                type(self).__qualname__, exc_info=error,
            )  # fmt: skip
        return self.render_error(error)

    def _send_in_order(self, message: bytes) -> None:
        if not self._owed:
            self._send_message(message)
            return
        later = Later(self)
        later.message = message
        later.is_answered = True
        self._owe(later)

    def _owe(self, later: Later) -> None:
        if self._owed is None:
            self._owed = TrackedDeque()
        self._owed.append(later)
        self.send_answered()
        if len(self._owed) >= self.requests_max:
            self.transport.pause_reading()

    def send_answered(self) -> None:
        """Send the replies that are ready, in the order of their requests."""
        owed = self._owed
        if not owed:
            return
        was_full = len(owed) >= self.requests_max
        while owed and owed[0].is_answered:
            message = owed.popleft().message
            if message is not None and self.is_connected:
                self._send_message(message)
        if was_full and len(owed) < self.requests_max and self.is_connected:
            self.transport.resume_reading()

    # --- the end that asks ------------------------------------------------------------

    def ask(self, request: Any, then: Callable[..., object], *args: Any) -> None:
        """Send `request`; call ``then(reply, *args)`` with its reply, in order.

        Input that answers no request goes to `request_received`, so only one of the two
        ends asks at a time.

        Args:
            request: as `render_reply` takes it.
            then: a bound method of a durable object, or a function that can be
                imported. If the connection ends first, its reply is None.
            args: more arguments for it.

        Raises:
            AuthorError: `then` is no function, or is a coroutine function or a generator.
        """
        check_callback("ask", then)
        if self._asked is None:
            self._asked = TrackedDeque()
        self._asked.append((then, args))
        self._send_message(self.render_reply(request))

    def connection_ended(self) -> None:
        """Give None to callbacks that will get no reply (called after `connection_lost`)."""
        self._owed = None
        asked, self._asked = self._asked, None
        for then, arguments in asked or ():
            then(None, *arguments)


class RequestProtocol(_Requests, LineProtocol):
    """Base of protocols where each line is a request that gets a reply line.

    Override `request_received`, which gets a `str` and returns one.

    Example:
        >>> class Upper(RequestProtocol):
        ...     def request_received(self, request: str) -> str:
        ...         return request.upper()
    """

    def line_received(self, line: str) -> None:
        """Handle a line as a request, or as the reply to one of ours."""
        self._take_message(line)

    def render_reply(self, reply: str) -> bytes:
        """Return the line to send, without its end.

        Raises:
            AuthorError: `reply` is no text.
        """
        if not isinstance(reply, str):
            raise AuthorError(_WRONG_KIND.format(type(self).__qualname__, reply, "a str"))
        return reply.encode(self.encoding, "replace")

    def render_error(self, error: Exception) -> bytes:
        """Return the line ``error: ...``; override it for another form."""
        text = str(error) if isinstance(error, PeerError) else "internal error"
        return self.render_reply("error: " + " ".join(text.split()))

    def unit_skipped(self) -> None:
        """Reply that the request was dropped: it killed the server each time."""
        self._send_in_order(self.render_error(PeerError(SKIPPED)))

    def _send_message(self, message: bytes) -> None:
        transport = self._v_transport
        if transport is not None:
            transport.write(message + self.delimiter)


class FrameRequestProtocol(_Requests, FrameProtocol):
    """Base of protocols where each frame is a request that gets a reply frame.

    Like `RequestProtocol`, with `bytes` instead of `str`. Override `render_error` to
    give errors the protocol's own form.
    """

    def frame_received(self, frame: bytes) -> None:
        """Handle a frame as a request, or as the reply to one of ours."""
        self._take_message(frame)

    def render_reply(self, reply: bytes) -> bytes:
        """Return the frame to send.

        Raises:
            AuthorError: `reply` is no bytes.
        """
        if not isinstance(reply, bytes | bytearray | memoryview):
            raise AuthorError(_WRONG_KIND.format(type(self).__qualname__, reply, "bytes"))
        return bytes(reply)

    def render_error(self, error: Exception) -> bytes:
        """Return ``error: ...`` as ASCII; override it for another form."""
        text = str(error) if isinstance(error, PeerError) else "internal error"
        return f"error: {text}".encode("ascii", "backslashreplace")

    def unit_skipped(self) -> None:
        """Reply that the request was dropped: it killed the server each time."""
        self._send_in_order(self.render_error(PeerError(SKIPPED)))

    def _send_message(self, message: bytes) -> None:
        self.send_frame(message)
