"""Recovery: resumes the connections of a dead process from the journal and the kernel's counters.

For each connection in the vault, the kernel says how many bytes of input the dead process
read and how many bytes of output it sent; the journal says how many it had committed.
Input that was committed and not discarded is discarded now; output that was committed and
not sent is sent. Saved connections without a socket have ended meanwhile: their protocols
are told before the server reports that it is ready.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Sequence

from tapd.errors import AdministratorError, AuthorError, BugError, StartFailed, TapdError
from tapd.image.tracking.changes import Changes
from tapd.linux.sockets import read_cookie
from tapd.model.application import Application
from tapd.model.hosted import Hosted
from tapd.model.order import check_classes, start_order
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.model.source_location import describe_origin
from tapd.net import authors
from tapd.net.authors import name_of
from tapd.net.streams import kernel
from tapd.net.streams.stream import Stream
from tapd.net.turn.careful import Careful
from tapd.net.turn.connections import find_connector
from tapd.net.turn.listener import prepare
from tapd.net.turn.outbound import resume_connectors
from tapd.net.turn.turn import Turn
from tapd.store.journal import records
from tapd.store.journal.history import History
from tapd.systemd.guardian import ORPHAN_KEY
from tapd.systemd.vault import Held

_log = logging.getLogger(__name__)


class Resumed:
    """What became of the connections of the process before.

    Attributes:
        streams: those that go on.
        accepted: those that it had accepted and not yet begun: key and socket.
        ended: keys of those that are gone, and the reasons.
    """

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.accepted: list[tuple[int, socket.socket]] = []
        self.ended: list[tuple[int, Exception]] = []


def ended_before(application: Application, history: History) -> Callable[[int], bool]:
    """Return a predicate: had the connection of a key ended before the process did?"""
    return lambda key: key <= application.last_key and key not in history.streams


def adopt_held(turn: Turn, history: History, held: Sequence[Held]) -> Resumed:
    """Match the vault's sockets with the journal's streams. Takes over the descriptors."""
    resumed = Resumed()
    application = turn.application
    seen: set[int] = set()
    cookies: set[int] = set()
    for entry in held:
        sock = socket.socket(fileno=entry.fd)
        cookie = read_cookie(sock)
        if entry.key in seen or cookie in cookies:
            # Kept twice: killed in the middle of a compaction, or the guardian erred
            # on the safe side. Keys are in order, so the guardian's comes last.
            turn.connections.vault.forget(entry.key)
            sock.close()
            continue
        cookies.add(cookie)
        seen.add(entry.key)
        state = history.streams.get(entry.key)
        if state is None and entry.key <= application.last_key:
            # The journal has its end: only the vault had not yet dropped it.
            _discard(turn, entry.key, sock)
            continue
        if state is None or entry.key not in application.connections:  # see `_name_accepted`
            resumed.accepted.append((entry.key, sock))
            continue
        try:
            stream = _resume_stream(turn, sock, state)
        except (OSError, BugError) as error:
            _log.log(
                logging.ERROR if isinstance(error, BugError) else logging.INFO,
                "connection %d can't go on: %s", entry.key, error,
            )  # fmt: skip
            resumed.ended.append((entry.key, error))
            _discard(turn, entry.key, sock)
            continue
        resumed.streams.append(stream)
    known = seen.union(key for key, _error in resumed.ended)
    for key in list(application.connections):
        if key not in known:
            resumed.ended.append((key, ConnectionAbortedError("the server was down")))
    return resumed


def _discard(turn: Turn, key: int, sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    turn.connections.release(key, sock)


def _resume_stream(turn: Turn, sock: socket.socket, state: records.StreamState) -> Stream:
    """Bring the socket to the state that the journal has, and make the stream.

    Raises:
        OSError: the connection is gone.
        BugError: journal and kernel contradict each other.
    """
    sock.setblocking(False)
    protocol = turn.application.connections[state.key]
    # The journal lacks output of a busy hosted connection, so that one can only be closed.
    is_ending = isinstance(protocol, Hosted) and protocol.is_busy
    # A closing one does not read, and may have thrown away its unread input already.
    is_reading = not is_ending and not state.flags & records.Flag.CLOSING
    if state.flags & records.Flag.ABORTED:
        # Its output was dropped; how much of it had been sent does not matter any more.
        state.out_start += len(state.output)
        state.output.clear()
    if state.is_unix:
        count = kernel.discard_due(sock, state.reads, state.last_read)
        if count:
            kernel.mark_discard(sock, state.reads, count)  # should this process be killed, too
            kernel.discard_input(sock, count)
        fin_sent = False
    else:
        fin_sent = _join_streams(sock, state, is_reading=is_reading, is_ending=is_ending)
    stream = turn.connections.attach(sock, protocol, state, protected=True)
    if fin_sent:
        stream.note_eof_sent()
    return stream


def _join_streams(
    sock: socket.socket, state: records.StreamState, *, is_reading: bool, is_ending: bool
) -> bool:
    """Discard what was run of a TCP connection, and cut what was sent from `state.output`.

    A connection that is over is resumed, too: the input before its end is run, then recv(2)
    returns the end or the error.

    Returns:
        Whether our FIN was sent.

    Raises:
        OSError: it is over, and the process before got the error.
        BugError: journal and kernel contradict each other.
    """
    if read_cookie(sock) != state.cookie:
        raise BugError("the vault gave another connection than the journal knows")
    committed = state.sent_base + state.out_start + len(state.output)
    positions = kernel.read_positions(sock).settle(state.taken, committed)
    sent = positions.sent - state.sent_base
    if is_ending:
        # The journal is behind the kernel here, so the kernel's positions count.
        state.taken, state.out_start = positions.taken, sent
        state.output.clear()
    if state.flags & records.Flag.ABORTED:
        state.out_start = sent
    # Committed input that the kernel still has. A negative number is a contradiction, except
    # for a closing connection, which may have thrown input away.
    undiscarded = state.taken - positions.taken
    if not is_reading:
        undiscarded = max(undiscarded, 0)
    unsent_at = sent - state.out_start
    if undiscarded < 0 or not 0 <= unsent_at <= len(state.output):
        raise BugError(
            f"the journal knows {state.taken} bytes taken and "
            f"{state.out_start}+{len(state.output)} to send, "
            f"the kernel {positions.taken} taken and {sent} sent"
        )
    is_told = positions.is_closed and not positions.fin_received and not kernel.has_error(sock)
    if is_told and (is_reading or unsent_at < len(state.output)):
        raise ConnectionResetError("the client is gone")
    kernel.discard_input(sock, undiscarded)
    del state.output[:unsent_at]
    state.out_start = sent
    return bool(positions.fin_sent)


def begin_turns(turn: Turn, resumed: Resumed, history: History, boot_id: str) -> None:
    """Run the first turn: services start, ended connections are told, the others go on.

    Raises:
        StartFailed: a service did not start. Nothing was committed: the next process
            finds everything as this one did.
    """
    try:
        _begin_turns(turn, resumed, history, boot_id)
    except TapdError:
        raise
    except BaseException as error:
        turn.schedule.break_off(error)
        raise


def _begin_turns(turn: Turn, resumed: Resumed, history: History, boot_id: str) -> None:
    _number_accepted(turn, resumed)
    level = 0 if history.clean else history.level + 1
    assert turn.commits.journal is not None, "a turn before there is a journal"
    turn.commits.journal.append(records.render_start(boot_id, level))
    if level:
        turn.trials.careful = careful = _make_careful(turn, resumed, history)
        if careful.is_single:
            _name_accepted(turn, resumed)
    turn.timers.load()
    try:
        _start_services(turn)
    except StartFailed:
        # Take back the mark above: this was no death, and no input is to blame.
        streams = list(history.streams.values())
        clean = history.clean
        turn.commits.journal.append(
            records.render_base(
                history.boot_id, history.level, streams, clean=clean, ports=history.ports
            )
        )
        raise
    _resume_ports(turn, history, boot_id)
    for key, error in resumed.ended:
        _tell_lost(turn, key, error)
    for stream in resumed.streams:
        _go_on(turn, stream)
    for key, sock in resumed.accepted:
        _begin_accepted(turn, key, sock)
        if key not in turn.streams:
            turn.pending.lost_keys.append(key)
    resume_connectors(turn.connections, turn.trials)
    if turn.trials.careful is None:
        turn.commits.commit()
    else:
        turn.trials.careful.commit()  # its mark and progress say that the start did not kill


def _make_careful(turn: Turn, resumed: Resumed, history: History) -> Careful:
    waiting = {
        # A FIN is input, too: it counts as a byte.
        stream.key: stream.taken
        + kernel.input_waiting(stream.sock)
        + kernel.input_ended(stream.sock)
        for stream in resumed.streams
    }
    kept = {
        stream.key: stream.taken
        for stream in resumed.streams
        # The stand-in of a missing class is no protocol; the start is refused for it below.
        if isinstance(stream.protocol, Protocol) and turn.guard.count(stream, "kept_bytes")
    }
    return Careful(
        history,
        waiting,
        kept,
        schedule=turn.schedule,
        guard=turn.guard,
        connections=turn.connections,
        ports=turn.ports,
        commits=turn.commits,
    )


def _tell_lost(turn: Turn, key: int, error: Exception) -> None:
    """Tell a protocol that its connection is gone."""
    application = turn.application
    protocol = application.connections.get(key)
    if protocol is None:
        turn.pending.lost_keys.append(key)
        return

    def tell() -> None:
        turn.pending.lost_keys.append(key)
        turn.connections.lose(protocol, key, error)

    def skip() -> None:
        turn.pending.lost_keys.append(key)
        application.connections.pop(key, None)
        connector = find_connector(application, key)
        if connector is not None:
            connector.lost()

    turn.trials.alone(
        "connection_lost", key, tell, lambda: f"connection_lost of {name_of(protocol)}", skip
    )


def _go_on(turn: Turn, stream: Stream) -> None:
    """Resume the protocol of a connection that outlived the process before."""

    def resume() -> None:
        with turn.trials.asking("connection_resumed", stream.key, stream.close):
            turn.guard.call(stream, "connection_resumed")

    turn.trials.alone(
        "connection_resumed", stream.key, resume,
        lambda: f"connection_resumed of {name_of(stream.protocol)}",
        may_wait=True,
    )  # fmt: skip
    if stream.is_reading() and turn.guard.count(stream, "kept_bytes"):
        # Reading had been resumed, and the kept units were being run one by one.
        turn.trials.go_on_reading(stream)


def _number_accepted(turn: Turn, resumed: Resumed) -> None:
    """Give each accepted connection a key that no other one gets."""
    application = turn.application
    keys = [key for key, _sock in resumed.accepted if key < ORPHAN_KEY]
    application.last_key = max([application.last_key, *keys])
    for place, (held_key, sock) in enumerate(resumed.accepted):
        if held_key >= ORPHAN_KEY:
            turn.connections.vault.forget(held_key)
            key = application.next_key()
            turn.connections.keep(key, sock)
            resumed.accepted[place] = key, sock


def _name_accepted(turn: Turn, resumed: Resumed) -> None:
    """Journal the accepted connections before the first commit of this process.

    Else the next process would take them for ended ones, as it does with each key that was
    given and is not in the journal.
    """
    opens: list[records.Open] = []
    for key, sock in resumed.accepted:
        is_unix = sock.family == socket.AF_UNIX
        with contextlib.suppress(OSError):  # it is gone
            sent_base = 0 if is_unix else kernel.read_positions(sock).sent
            opens.append((key, read_cookie(sock), is_unix, sent_base))
    assert turn.commits.journal is not None, "a turn before there is a journal"
    if opens:
        turn.commits.journal.append(records.render_turn(opens, [], [], Changes(), []))


def _begin_accepted(turn: Turn, key: int, sock: socket.socket) -> None:
    """Begin a connection that the process before had accepted and not begun."""
    service = find_service(turn, sock)
    if service is None:
        _discard(turn, key, sock)
        return
    if sock.family != socket.AF_UNIX:
        prepare(sock)  # the kill was before or after this; twice does no harm
    turn.trials.alone(
        "connection", key,
        lambda: turn.connections.begin(sock, service, key, protected=True),
        lambda: f"the beginning of connection {key} to {name_of(service)}",
        lambda: _discard(turn, key, sock),
    )  # fmt: skip


def _resume_ports(turn: Turn, history: History, boot_id: str) -> None:
    assert turn.commits.journal is not None, "a turn before there is a journal"
    sent = []
    for port in turn.ports:
        state = history.ports.get(port.name)
        if state is not None:
            is_same = history.boot_id == boot_id
            sent.append((port.name, port.adopt(state, is_same_socket=is_same)))
    if sent:
        turn.commits.journal.append(records.render_sent([], sent))
    for number, port in enumerate(turn.ports):
        turn.trials.alone("port", number, port.resume, lambda port=port: f"the start of {port}")  # type: ignore[misc]


def _start_services(turn: Turn) -> None:
    """Start all services, or none: where one fails, those before it are stopped again.

    A service that has started builds the protocols of its new datagram ports.

    Raises:
        StartFailed: one failed, or they can't be put in order.
    """
    application = turn.application
    started: list[Service] = []
    try:
        check_classes(application)
        for number, service in enumerate(start_order(application)):
            started.append(service)
            _check_may_start(turn, number)
            with turn.trials.asking("start", number, lambda: None):
                service.start()
            for port in turn.ports:
                if port.port.service is service:
                    port.build()
    except BaseException as error:
        failed = started.pop() if started else None
        for service in reversed(started):
            authors.attempt(service, "stop")
        raise _start_failure(application, failed, started, error) from error


def _check_may_start(turn: Turn, number: int) -> None:
    """Mark the start of a service. It is not committed alone: all services start, or none.

    Raises:
        AuthorError: it has killed the server each time. The next process tries it again.
    """
    careful = turn.trials.careful
    if careful is not None and not careful.may_run("start", number):
        raise AuthorError("its start killed the server each time")


def _start_failure(
    application: Application, failed: Service | None, started: list[Service], error: BaseException
) -> StartFailed:
    names = ", ".join(service.name for service in reversed(started))
    undone = f"; stopped again: {names}" if names else ""
    if failed is None:
        return StartFailed(f"{application!r} can't start: {authors.text_of(error)}")
    failure = StartFailed(
        f"{application!r} can't start: the service {failed.name!r} raised "
        f"{type(error).__name__}: {authors.text_of(error)}{describe_origin(error)}{undone}; "
        "nothing was saved"
    )
    if isinstance(error, AdministratorError):
        failure.exit_status = error.exit_status
    return failure


def find_service(turn: Turn, sock: socket.socket) -> Service | None:
    """Return the service whose listener accepted `sock`."""
    try:
        name = sock.getsockname()
    except OSError:
        return None
    best = None
    for listener in turn.listeners:
        if listener.sock.family != sock.family:
            continue
        bound = listener.sock.getsockname()
        if bound == name:
            return listener.service
        if not listener.is_unix and bound[1] == name[1]:
            best = listener.service  # bound to the wildcard address
    return best
