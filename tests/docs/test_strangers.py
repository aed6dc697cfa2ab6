"""The page of what strangers cost has the numbers that the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapd.host.options import DaemonOptions
from tapd.model.application import QUEUE_GROUP_MAX, QUEUE_MAX
from tapd.model.protocols.frames import FrameProtocol
from tapd.model.protocols.lines import LineProtocol
from tapd.model.protocols.requests import RequestProtocol
from tapd.net.rate_limit import EACH_S, FAILURES_AT_ONCE
from tapd.net.streams.backlog import OUTPUT_BYTES_MAX, TOTAL_BYTES_MAX
from tapd.services.irc import IrcNetwork
from tapd.services.irc.conduct import admission
from tapd.services.irc.conduct import login as irc_login
from tapd.services.telnet import ShellFactory, login

PAGE = (Path(__file__).parents[2] / "docs" / "strangers.md").read_text()
SHELL = ShellFactory()
NETWORK = IrcNetwork("Test", "irc.test.internal", 0.0)
LIMITS = NETWORK.limits


@pytest.mark.parametrize(
    "row",
    [
        (
            f"| connections | | a quarter of all ({SHELL.connections_per_address_max}) | "
            f"{SHELL.connections_max:,} |"
        ),
        f"| how long | {SHELL.login_time_s:g} s without a login |",
        f"| input that is read | {login.INPUT_BYTES_MAX // 1024} KiB | | | `INPUT_BYTES_MAX` |",
        f"| hashes | {SHELL.tries_max} | {QUEUE_GROUP_MAX} wait or run | {QUEUE_MAX} wait;",
        f"| {login.LINES_AT_ONCE}, then one in {EACH_S:g} s for all |",
        (
            f"| connections | | {LIMITS.connections_per_address}; "
            f"{LIMITS.connections_per_network} of one network; "
            f"{LIMITS.connections_per_minute} new ones a minute |"
        ),
        (
            f"| how long | {NETWORK.registration_s:g} s without a registration | | "
            f"{LIMITS.half_registered} at once"
        ),
        f"| input that is read | {admission.BYTES_MAX // 1024} KiB | | | `admission.BYTES_MAX` |",
        f"| of an unfinished line | {admission.LINE_BYTES_MAX // 1024} KiB |",
        f"| commands | {LIMITS.burst_lines} at once, then {LIMITS.lines_per_s:g} a second |",
        f"| hashes | {irc_login.FAILURES_MAX} | {QUEUE_GROUP_MAX} wait or run | {QUEUE_MAX} wait;",
        f"| new accounts | | {LIMITS.accounts_per_hour} an hour |",
        f"| {irc_login.LINES_AT_ONCE} (failed logins) or 1, then one in {EACH_S:g} s |",
        f"may have {QUEUE_MAX // 2} passwords wait",
        f"| an unfinished line | {LineProtocol.line_bytes_max >> 10} KiB |",
        f"| counted bytes | {LineProtocol.raw_bytes_max >> 20} MiB |",
        f"| an unfinished frame | {FrameProtocol.frame_bytes_max >> 20} MiB |",
        f"| requests without a reply | {RequestProtocol.requests_max:,} |",
        (
            f"| output that is not read | {OUTPUT_BYTES_MAX >> 20} MiB; "
            f"{TOTAL_BYTES_MAX >> 20} MiB of all"
        ),
        f"| {FAILURES_AT_ONCE} with a traceback, then one in {EACH_S:g} s",
        f"once they have {DaemonOptions.journal_bytes_max >> 20} MiB",
    ],
)
def test_the_page_has_the_number(row: str) -> None:
    assert row in PAGE
