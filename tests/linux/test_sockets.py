"""Socket options and credentials, asked of real sockets."""

from __future__ import annotations

import os
import socket

import pytest

from tapd.linux import sockets


def test_peer_credentials_are_of_the_process_that_connected() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert sockets.peer_credentials(near) == (os.getpid(), os.geteuid(), os.getegid())


def test_a_cookie_is_the_sockets_and_not_the_descriptors() -> None:
    near, far = socket.socketpair()
    with near, far, near.dup() as again:
        cookie = sockets.read_cookie(near)
        assert sockets.socket_cookie(again.fileno()) == cookie == sockets.read_cookie(again)
        assert sockets.read_cookie(far) != cookie


def test_a_closed_descriptor_has_no_cookie() -> None:
    near, far = socket.socketpair()
    near.close()
    far.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        sockets.read_cookie(near)


def test_constants_are_the_kernels() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, sockets.SO_DOMAIN) == socket.AF_INET
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, sockets.SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, sockets.SO_PEEK_OFF, 1)
        sock.sendto(b"abc", sock.getsockname())
        space = socket.CMSG_SPACE(sockets.TIMESPEC.size)
        data, ancillary, _flags, _peer = sock.recvmsg(9, space, socket.MSG_PEEK)
        assert data == b"bc"
        assert sockets.TIMESPEC.unpack(ancillary[0][2])[0] > 0
