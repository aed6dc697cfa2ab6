"""Builds the protocol of a new connection, or one that refuses the peer.

What a service builds is authors' code, so it is checked here: it may be no protocol at all,
the protocol of another connection, or an exception of any kind.
"""

from __future__ import annotations

import logging
from typing import Any

from tapd.errors import AuthorError, PeerError
from tapd.model.access.peers import group_of_peer
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.net import authors
from tapd.net.rate_limit import FAILURES_AT_ONCE, Tellings

_log = logging.getLogger(__name__)


def build_protocol(tellings: Tellings, service: Service, peer: Any, why_full: str) -> Protocol:
    """Return the protocol of a new connection, or one that refuses a connection too many.

    Args:
        tellings: where a refusal is logged.
        service: builds it.
        peer: the socket address of the other end.
        why_full: why the service is full (`net.streams.crowd`); "" where it is not.

    Raises:
        PeerError: it is refused, and sent nothing.
        AuthorError: the service built no usable protocol.
        BaseException: whatever the service raised.
    """
    name = type(service).__qualname__
    if not why_full:
        return _checked(service.build_protocol(peer), f"{name}.build_protocol")
    refusal = service.build_refusal("Too many connections from your address")
    if refusal is None:
        raise PeerError(why_full)
    text = f"refused a connection to {authors.name_of(service)}: {why_full}"
    tellings.tell(_log, "refused", text)
    return _checked(refusal, f"{name}.build_refusal")


def tell_of_no_protocol(
    tellings: Tellings, service: Service, peer: Any, error: BaseException
) -> None:
    """Log why there is no protocol for a new connection."""
    name = authors.name_of(service)
    if issubclass(type(error), PeerError):
        text = f"refused a connection to {name}: {authors.text_of(error)}"
        tellings.tell(_log, "refused", text, peer=group_of_peer(peer))
        return
    tellings.tell(
        _log, f"unbuilt {type(error).__name__}",
        f"{name} could not build a protocol for a new connection",
        level=logging.ERROR, at_once=FAILURES_AT_ONCE, error=error,
    )  # fmt: skip


def _checked(built: Any, name: str) -> Protocol:
    """Check what `name` returned: it must be a protocol that has no connection yet."""
    if not isinstance(built, Protocol):
        raise AuthorError(
            f"{name} returned {built!r}; return an object of a class derived from tapd.Protocol"
        )
    if built.is_connected:
        raise AuthorError(
            f"{name} returned the protocol of a connection that is open; make a new one for each"
        )
    return built
