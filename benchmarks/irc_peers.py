"""ngircd and InspIRCd as Debian has them, each in the foreground on a port of loopback.

Configured to hold nothing back: no throttling of who talks much, room for
all clients, no look-ups of names. Started as root they run as ``nobody``.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

FILES_MAX = 8192

_NGIRCD = """
[Global]
Name = irc.bench.internal
Info = Benchmark
AdminInfo1 = Benchmark
AdminInfo2 = Loopback
AdminEMail = bench@bench.internal
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = Welcome
PidFile = {directory}/ngircd.pid
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxNickLength = 31
MaxPenaltyTime = 0
PingTimeout = 3600
PongTimeout = 3600
[Options]
DNS = no
Ident = no
PAM = no
"""

_INSPIRCD = """
<server name="irc.bench.internal" description="Benchmark" network="Bench">
<admin name="Bench" nick="bench" email="bench@bench.internal">
<bind address="127.0.0.1" port="{port}" type="clients">
<connect name="bench" allow="*" timeout="60" pingfreq="60m" threshold="1000000"
    commandrate="100000000" fakelag="no" recvq="1M" softsendq="16M" hardsendq="64M"
    localmax="100000" globalmax="100000" maxconnwarn="no" limit="100000" maxchans="100"
    resolvehostnames="no" useident="no">
<dns timeout="5">
<pid file="{directory}/inspircd.pid">
<path configdir="{directory}" datadir="{directory}" logdir="{directory}">
<options prefixquit="Quit: " defaultbind="ipv4">
<performance quietbursts="yes" softlimit="100000" somaxconn="1024" netbuffersize="65534"
    clonesonconnect="no">
<security maxtargets="20">
<whowas groupsize="10" maxgroups="10000" maxkeep="3d">
"""


def _render_ngircd(directory: pathlib.Path, port: int) -> list[str]:
    config = directory / "ngircd.conf"
    config.write_text(_NGIRCD.format(directory=directory, port=port))
    return ["--nodaemon", "--config", str(config)]


def _render_inspircd(directory: pathlib.Path, port: int) -> list[str]:
    config = directory / "inspircd.conf"
    config.write_text(_INSPIRCD.format(directory=directory, port=port))
    return ["--nofork", "--nolog", f"--config={config}"]


PEERS: dict[str, Callable[[pathlib.Path, int], list[str]]] = {
    "inspircd": _render_inspircd,
    "ngircd": _render_ngircd,
}
"""By name: writes the configuration, and returns the arguments."""


def find_program(name: str) -> str | None:
    """Return where a peer is installed; None where it is not."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextlib.contextmanager
def serving_peer(name: str, directory: pathlib.Path, port: int) -> Iterator[int]:
    """Run a peer for the length of the block; yields its process id."""
    program = find_program(name)
    assert program is not None, f"{name} is not installed"
    directory.chmod(0o777)  # it is somebody else's process, and writes its pid there
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))  # inherited
    command = [program, *PEERS[name](directory, port)]
    is_root = os.geteuid() == 0
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        user="nobody" if is_root else None, group="nogroup" if is_root else None,
        extra_groups=[] if is_root else None,
    )  # fmt: skip
    try:
        _wait_for_port(process, port)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, f"{process.args!r} ended at once"
            assert time.monotonic() < deadline, f"{process.args!r} does not listen"
            time.sleep(0.02)
        else:
            return
