"""The control socket of a running server, for `tapctl`.

AF_UNIX, a stream of JSON lines, mode 0600. Only root and the server's own user may ask; the
kernel identifies the peer (SO_PEERCRED, unix(7)). Every process creates it anew, after READY.
It is not part of the application's state: an error here costs a line in the log and affects no
client. A request that changes state runs in a turn, and its answer is sent after the commit.

A request is an object with a ``request``. The answer has ``ok``, or an ``error`` (the name of
an exception in `tapd.errors`) and its ``message``. After ``shell`` the connection carries the
messages of a `host.prompt.console`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from typing import Protocol as TypingProtocol

from tapd import events
from tapd.errors import NotAllowed, TapdError, UsageError
from tapd.linux.sockets import peer_credentials
from tapd.model.setting import Assignment, describe_settings, prepare_settings
from tapd.net.turn.turn import Turn
from tapd.store.snapshot import SaveReport
from tapd.values import Value

if TYPE_CHECKING:
    from tapd.host.audited import Audited
    from tapd.host.prompt.console import Console

_log = logging.getLogger("tapd.control")

CONTROL_NAME = "control"
LINE_BYTES_MAX = 16 << 20
_PATH_BYTES_MAX = 107  # sun_path of unix(7), without its NUL
_RETRY_S = 5.0


class Host(TypingProtocol):
    """What a control socket needs of the daemon."""

    def status(self) -> dict[str, Any]:
        """Return what `tapctl status` shows."""

    async def checkpoint(self) -> SaveReport:
        """Save a generation that contains everything committed before the call."""

    async def audit(self) -> Audited:
        """Save, and compare what a kill would restore with memory."""

    async def reload(self) -> tuple[SaveReport, list[str]]:
        """Save, and end for new code if it loads that; return the changed modules."""


class Peer(Value):
    """The credentials of a peer; -1 and 65534 for one outside of our namespaces."""

    pid: int
    uid: int

    @classmethod
    def of(cls, sock: socket.socket) -> Peer:
        """Return the credentials of the process that connected `sock`."""
        pid, uid, _gid = peer_credentials(sock)
        return cls(pid, uid)

    @property
    def is_allowed(self) -> bool:
        """Whether the peer is root or the server's own user."""
        return self.uid in (0, os.geteuid())

    def __str__(self) -> str:
        return f"uid {self.uid}, process {self.pid}"

    @property
    def fields(self) -> dict[str, Any]:
        """Journal fields for a line about the peer."""
        return {"TAPD_PEER_UID": self.uid, "TAPD_PEER_PID": self.pid}


def control_path(environ: Mapping[str, str], journal_directory: Path) -> Path:
    """Return the path of a server's control socket: in its runtime directory, else in NAME.d."""
    runtime = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return (Path(runtime) if runtime else journal_directory) / CONTROL_NAME


@contextlib.contextmanager
def _short_path(path: Path) -> Any:
    """Yield an alias of `path` that fits a socket address, however long `path` is."""
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def connect_control(path: Path) -> socket.socket:
    """Connect to the control socket at `path`. The caller owns the result.

    Raises:
        OSError: nobody answers, or access is denied.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _short_path(path) as name:
            sock.connect(name)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_control(path: Path) -> socket.socket:
    """Listen at `path`, replacing the socket of an earlier process.

    The socket gets its name only when it listens, so whoever finds it is answered.

    Raises:
        OSError: it can't be created, or the path is not a socket.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(17, "something that is no socket has its name", str(path))
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(sock.fileno(), 0o600)  # before bind, so it never has another mode
        with _short_path(new) as name:
            sock.bind(name)
        sock.listen()
        new.replace(path)
    except BaseException:
        sock.close()
        raise
    return sock


class Control:
    """Serves the control socket of one running application."""

    def __init__(self, path: Path, turn: Turn, host: Host) -> None:
        """Prepare for `path`; opens nothing."""
        self.path = path
        self.turn = turn
        self.host = host
        self._connections: set[_Connection] = set()

    async def serve(self) -> None:
        """Serve until cancelled. Creating the socket is retried, with one warning."""
        sock = await self._listening()
        try:
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(lambda: _Connection(self), sock=sock)
            try:
                await asyncio.Event().wait()
            finally:
                server.close()
                for connection in list(self._connections):
                    connection.end()
        finally:
            sock.close()
            with contextlib.suppress(OSError):
                self.path.unlink()

    async def _listening(self) -> socket.socket:
        """Return the socket, once it can be created."""
        is_told = False
        while True:
            try:
                sock = _bind_control(self.path)
            except OSError as error:
                if not is_told:
                    is_told = True
                    _log.warning(
                        "%s: the control socket can't be made (%s): tapctl can't reach this server "
                        "until it can; tried again each %.0f s",
                        self.path, error.strerror or error, _RETRY_S,
                    )  # fmt: skip
                await asyncio.sleep(_RETRY_S)
            else:
                if is_told:
                    _log.info("%s: the control socket is there now", self.path)
                return sock

    @property
    def is_in_use(self) -> bool:
        """Whether somebody is connected."""
        return bool(self._connections)

    def note(self, connection: _Connection) -> None:
        """Keep track of an open connection."""
        self._connections.add(connection)

    def forget(self, connection: _Connection) -> None:
        """Drop a connection that ended."""
        self._connections.discard(connection)

    # --- the requests ---------------------------------------------------------------

    async def answer(self, request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        """Execute a request and return the answer.

        Raises:
            TapdError: it can't be done.
        """
        answers: dict[str, Callable[[dict[str, Any], Peer], Awaitable[dict[str, Any]]]] = {
            "status": self._status,
            "checkpoint": self._checkpoint,
            "audit": self._audit,
            "reload": self._reload,
            "settings": self._settings,
            "set": self._set,
            "change": self._change,
        }
        name = request.get("request")
        if not isinstance(name, str) or name not in answers:
            raise UsageError(f"there is no request {name!r}; is this tapctl of another version?")
        return await answers[name](request, peer)

    async def _status(self, _request: dict[str, Any], _peer: Peer) -> dict[str, Any]:
        return self.host.status()

    async def _checkpoint(self, _request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        _log.info("a checkpoint was asked for by %s", peer, extra=peer.fields)
        return self._describe(await self.host.checkpoint())

    async def _audit(self, _request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        _log.info("an audit was asked for by %s", peer, extra=peer.fields)
        return (await self.host.audit()).as_json()

    async def _reload(self, _request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        _log.info("a reload was asked for by %s", peer, extra=peer.fields)
        report, changed = await self.host.reload()
        return {**self._describe(report), "changed": changed}

    def _describe(self, report: SaveReport) -> dict[str, Any]:
        return {
            "generation": report.generation,
            "path": str(report.path),
            "size_bytes": report.size_bytes,
            "duration_s": report.duration_s,
            "losses": [loss.as_dict() for loss in report.losses],
        }

    async def _settings(self, _request: dict[str, Any], _peer: Peer) -> dict[str, Any]:
        return {"settings": describe_settings(self.turn.application)}

    async def _set(self, request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        try:
            assignments = [
                Assignment(str(row["option"]), str(row["value"]), str(row.get("secret", "")))
                for row in request["assignments"]
            ]
        except (KeyError, TypeError, AttributeError):
            raise UsageError("set: the request is malformed") from None
        changes = await asyncio.to_thread(prepare_settings, self.turn.application, assignments)

        def change() -> None:
            for each in changes:
                each()

        await self._in_turn(change)
        for each in assignments:
            _log.info(
                "%s=%s was set by %s", each.option, each.value, peer,
                extra={**peer.fields, "TAPD_OPTION": each.option, "TAPD_VALUE": each.value},
            )  # fmt: skip
        return {"set": [each.option for each in assignments]}

    async def _change(self, request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        from tapd.host.change import Change  # noqa: PLC0415 - imports delay a waking client

        prepared = Change.from_json(request.get("change", {})).prepare(self.turn.application)
        if request.get("dry_run") is not True:
            await self._in_turn(prepared.apply)
            for each in prepared.said:
                _log.info("%s now, by tapd-mktap of %s", each, peer, extra=peer.fields)
        return {
            "said": prepared.said,
            "ports": prepared.ports,
            "changes_ports": prepared.changes_ports,
        }

    async def _in_turn(self, function: Callable[[], object]) -> None:
        """Run `function` in a turn; return after its commit."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def finish(error: Exception | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def run() -> None:
            error: Exception | None = None
            try:
                function()
            except Exception as failure:
                error = failure
            # Calls of the next turn run only after this turn's commit.
            self.turn.call(lambda: finish(error))

        self.turn.call(run)
        await done


class _Connection(asyncio.Protocol):
    """One connection to the control socket: requests in sequence, then perhaps a shell."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._buffer = b""
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()
        self._console: Console | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check the peer's credentials."""
        if not self._control.turn.own_memory[0]:
            os._exit(0)  # a copy forked by C code; the peer wants the server
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock = transport.get_extra_info("socket")
        self._fd = sock.fileno()
        # Not a client: the guardian must not hand it to the next process.
        self._control.turn.connections.guardian.note_safe(self._fd)
        self._control.note(self)
        self._peer = Peer.of(sock)
        if not self._peer.is_allowed:
            _log.warning(
                "refused %s at the control socket", self._peer,
                extra=events.NOT_ALLOWED(**self._peer.fields),
            )  # fmt: skip
            self._send_error(NotAllowed("only root and the server's own user may ask this"))
            transport.close()
            return
        self._task = asyncio.get_running_loop().create_task(self._work())

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what runs for this connection."""
        self._control.turn.connections.guardian.note_closed(
            self._fd
        )  # the descriptor is still open here
        self._control.forget(self)
        if self._task is not None:
            self._task.cancel()
        if self._console is not None:
            console, self._console = self._console, None
            console.close()
            _log.info("a shell was closed by %s", self._peer, extra=self._peer.fields)

    def end(self) -> None:
        """Close the connection: the server stops."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Process whole lines; shell messages at once, since one may interrupt another."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > LINE_BYTES_MAX:
            self._send_error(UsageError(f"a request is at most {LINE_BYTES_MAX} bytes"))
            self._transport.close()
            return
        for line in lines:
            if self._console is not None:
                self._take_for_console(self._console, line)
            else:
                self._requests.put_nowait(line)

    def _send(self, message: dict[str, Any]) -> None:
        if not self._transport.is_closing():
            self._transport.write(json.dumps(message).encode() + b"\n")
            if message.get("bye"):
                self._transport.close()

    def _send_error(self, error: TapdError) -> None:
        self._send({"error": type(error).__name__, "message": str(error)})

    async def _work(self) -> None:
        while self._console is None:
            line = await self._requests.get()
            try:
                request = _parse(line)
                if request.get("request") == "shell":
                    self._control.turn.call(self._open_shell)
                    return
                self._send({"ok": await self._control.answer(request, self._peer)})
            except TapdError as error:
                self._send_error(error)
            except Exception as error:
                _log.exception("a request at the control socket failed")
                self._send({"error": "BugError", "message": f"{type(error).__name__}: {error}"})

    def _open_shell(self) -> None:
        """Begin a shell, in a turn; the client waits for the answer before it sends more."""
        if self._transport.is_closing():
            return
        from tapd.host.prompt.console import Console  # noqa: PLC0415 - rarely used

        _log.info(
            "a shell was opened by %s", self._peer,
            extra=events.SHELL_OPENED(**self._peer.fields),
        )  # fmt: skip
        self._console = Console(self._control.turn, self._send)
        self._send({"ok": {"name": self._control.turn.application.name}})

    def _take_for_console(self, console: Console, line: bytes) -> None:
        try:
            message = _parse(line)
        except UsageError as error:
            self._send_error(error)
            return
        if isinstance(text := message.get("line"), str):
            console.push(text)
        elif isinstance(text := message.get("script"), str):
            console.run_script(text)
        elif isinstance(text := message.get("complete"), str):
            self._send({"completions": console.complete(text)})
        elif message.get("interrupt"):
            console.interrupt()
        elif message.get("drop"):
            console.drop_block()
        else:
            self._send_error(UsageError("a shell takes line, script, complete, interrupt or drop"))


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise UsageError("a request is one line that holds a JSON object")
    return request
