"""A key-value store: SET key value | GET key | DEL key | INCR key | EXPIRE key seconds.

A request is a line, and so is its reply; they may be sent without waiting for replies.

tapd-mktap app kv:Store --port 9000
"""

from __future__ import annotations

from tapd import PeerError, RequestProtocol, Service, Timer


class Client(RequestProtocol):
    """One connection. Its only state is an incomplete line, which its base buffers."""

    service: Store

    def request_received(self, request: str) -> str:
        verb, *arguments = request.split(" ", 2)
        match verb.upper(), *arguments:
            case "SET", key, value:
                return self.service.set(key, value)
            case "GET", key:
                return self.service.values.get(key, "(none)")
            case "DEL", key:
                return self.service.delete(key)
            case "INCR", key:
                return self.service.increment(key)
            case "EXPIRE", key, seconds if seconds.isdigit():
                return self.service.expire(key, int(seconds))
        raise PeerError(f"what is {request!r}?")


class Store(Service):
    """The values, and the timers of those that expire."""

    protocol = Client

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.expiries: dict[str, Timer] = {}

    def set(self, key: str, value: str) -> str:
        self.keep(key)
        self.values[key] = value
        return "OK"

    def delete(self, key: str) -> str:
        self.keep(key)
        return "(none)" if self.values.pop(key, None) is None else "OK"

    def increment(self, key: str) -> str:
        try:
            self.values[key] = str(int(self.values.get(key, "0")) + 1)
        except ValueError:
            raise PeerError(f"{key} is no number") from None
        return self.values[key]

    def expire(self, key: str, seconds: int) -> str:
        if key not in self.values:
            return "(none)"
        self.keep(key)
        self.expiries[key] = self.application.call_later(seconds, self.delete, key)
        return "OK"

    def keep(self, key: str) -> None:
        """Undo `expire`."""
        if timer := self.expiries.pop(key, None):
            timer.cancel()
