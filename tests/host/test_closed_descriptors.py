"""Authors' code closes tapd's descriptors: clients see a pause, and lose nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from by_hand import Server, free_port, wait_for
from closing_service import DEEDS, make_application

from tapd.store.generations import Store


class Client:
    """Counts lines."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.settimeout(120)
        self.file = self.sock.makefile("rb")
        self.lines = 0

    def send(self, line: bytes) -> None:
        self.sock.sendall(line + b"\r\n")

    def expect(self) -> None:
        self.lines += 1
        assert self.file.readline().strip() == b"%d" % self.lines

    def close(self) -> None:
        self.file.close()
        self.sock.close()


@pytest.mark.parametrize("deed", [*sorted(DEEDS), "everything now"])
def test_a_closed_descriptor_is_a_pause(deed: str, tmp_path: Path) -> None:
    port = free_port()
    server = Server(tmp_path, make_application(f"127.0.0.1:{port}"))
    server.start()
    clients = [Client(port) for _ in range(3)]
    try:
        for client in clients:
            client.send(b"count")
            client.expect()
        first = server.child()
        culprit = clients[2]
        culprit.send(deed.encode())
        if deed.endswith("now"):
            assert culprit.file.readline().strip() == b"skipped"
        else:
            culprit.expect()

        def talk() -> None:
            for client in clients:
                client.send(b"count")
            for client in clients:
                client.expect()

        def is_another() -> bool:
            talk()  # it is noticed by the next call that needs what was closed
            return server.child() not in (first, None)

        wait_for(is_another, "next process", 60)
        talk()
        late = Client(port)
        clients.append(late)
        late.send(b"count")
        late.expect()
        total = sum(client.lines for client in clients)
        assert server.stop() == 0
        (service,) = Store(server.tap, server.key).load().application.services.values()
        assert service.total == total
    except BaseException:
        print(server.log())
        raise
    finally:
        for client in clients:
            client.close()
        server.end()
