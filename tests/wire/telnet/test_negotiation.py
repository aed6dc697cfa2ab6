"""RFC 1143: whatever crosses on the wire, both sides agree and nothing loops."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from tapd.wire.telnet.codec import Decoder, Negotiation
from tapd.wire.telnet.negotiation import YES, OptionMachine

ECHO = 1
WILL, WONT, DO, DONT = 251, 252, 253, 254


def _negotiations(wire: bytes) -> list[Negotiation]:
    return [event for event in Decoder().receive(wire) if isinstance(event, Negotiation)]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("want"), st.integers(0, 1), st.booleans()),
            st.tuples(st.just("deliver"), st.integers(0, 1), st.just(True)),
        ),
        max_size=40,
    )
)
def test_two_machines_always_settle_and_agree(steps: list[tuple[str, int, bool]]) -> None:
    # Machine 0 may perform the option, machine 1 may let it.
    machines = [OptionMachine(bytes((ECHO,)), b""), OptionMachine(b"", bytes((ECHO,)))]
    queues: list[list[Negotiation]] = [[], []]  # what is on its way to each

    def deliver(to: int) -> None:
        if queues[to]:
            answer = machines[to].receive(queues[to].pop(0))
            queues[1 - to].extend(_negotiations(answer))

    for step, who, on in steps:
        if step == "deliver":
            deliver(who)
        elif who == 0:
            queues[1].extend(_negotiations(machines[0].want_ours(ECHO, on=on)))
        else:
            queues[0].extend(_negotiations(machines[1].want_theirs(ECHO, on=on)))
    for _ in range(100):
        deliver(0)
        deliver(1)
    assert queues == [[], []]
    assert machines[0].we_do(ECHO) == machines[1].peer_does(ECHO)
    assert {*machines[0].states, *machines[1].states} <= {0, YES}


def test_what_is_not_supported_is_refused_every_time() -> None:
    machine = OptionMachine(bytes((ECHO,)), b"")
    for _ in range(2):
        assert machine.receive(Negotiation(DO, 6)) == bytes((255, WONT, 6))  # RFC 860
        assert machine.receive(Negotiation(WILL, 39)) == bytes((255, DONT, 39))
    assert machine.receive(Negotiation(DONT, 6)) == b""
    assert machine.receive(Negotiation(WONT, 39)) == b""


def test_a_request_that_changes_nothing_is_not_answered() -> None:
    machine = OptionMachine(bytes((ECHO,)), b"")
    assert machine.want_ours(ECHO, on=True) == bytes((255, WILL, ECHO))
    assert machine.want_ours(ECHO, on=True) == b""
    assert machine.receive(Negotiation(DO, ECHO)) == b""
    assert machine.receive(Negotiation(DO, ECHO)) == b""
    assert machine.we_do(ECHO)
    assert not machine.we_do(99)


def test_a_change_of_mind_waits_for_the_answer() -> None:
    machine = OptionMachine(bytes((ECHO,)), b"")
    machine.want_ours(ECHO, on=True)
    assert machine.want_ours(ECHO, on=False) == b""
    assert machine.receive(Negotiation(DO, ECHO)) == bytes((255, WONT, ECHO))
    assert machine.want_ours(ECHO, on=True) == b""
    assert machine.receive(Negotiation(DONT, ECHO)) == bytes((255, WILL, ECHO))
    machine = pickle.loads(pickle.dumps(machine))
    assert machine.receive(Negotiation(DO, ECHO)) == b""
    assert machine.we_do(ECHO)
