"""A guest book on the web. uvicorn speaks HTTP and does not know tapd; the entries are state.

POST an entry, GET them all. Keep-alive connections survive the process, too.
Needs `uvicorn`.

tapd-mktap app guestbook:GuestBook --port 9000
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from tapd import AsyncioService


class GuestBook(AsyncioService):
    """Makes a uvicorn protocol for each connection, and answers its requests (ASGI)."""

    def __init__(self) -> None:
        super().__init__(self.make_protocol, idle=is_between_requests)
        self.entries: list[str] = []

    def start(self) -> None:
        config = uvicorn.Config(
            self.answer, interface="asgi3", log_config=None, timeout_keep_alive=600
        )
        config.load()
        self._v_config, self._v_state = config, ServerState()  # of this process only

    def make_protocol(self) -> H11Protocol:
        return H11Protocol(self._v_config, self._v_state, {}, asyncio.get_running_loop())

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            self.entries.append(await read_body(receive))
        body = "".join(f"{entry}\n" for entry in self.entries).encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def read_body(receive: Any) -> str:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body.decode("utf-8", "replace")


def is_between_requests(protocol: H11Protocol) -> bool:
    return protocol.cycle is None or protocol.cycle.response_complete
