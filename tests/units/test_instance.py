"""Names: whatever a TAP may be called, systemd can run it, as a user of its own."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.model.application import check_name
from tapd.units.instance import (
    escape_instance,
    has_own_user,
    service_unit,
    socket_unit,
    timer_unit,
    typed_unit,
    user_name,
)

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}", fullmatch=True).filter(
    lambda name: not name.endswith("-shutdown")
)


@given(NAMES)
def test_any_name_of_a_tap_has_a_unit_and_a_user(name: str) -> None:
    check_name(name)
    assert re.fullmatch(r"[A-Za-z0-9:_.@\\-]+", escape_instance(name))  # systemd.unit(5)
    assert re.fullmatch(r"[a-z_][A-Za-z0-9_-]{0,30}", user_name(name))  # strict mode of systemd


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_two_names_never_share_a_unit_or_a_user(names: list[str]) -> None:
    one, other = names
    assert escape_instance(one) != escape_instance(other)
    assert user_name(one) != user_name(other)


@pytest.mark.parametrize("name", ["telnet", "a-b", "web_2", "x" * 26])
def test_plain_names_stay_as_they_are(name: str) -> None:
    assert escape_instance(name) == name
    assert user_name(name) == f"tapd-{name}"
    assert has_own_user(name)


@pytest.mark.parametrize("name", ["a.b", "a@b", "a+b", "x" * 27])
def test_odd_names_get_a_user_that_tells_which(name: str) -> None:
    assert not has_own_user(name)
    assert user_name(name).startswith(f"tapd-{name[0]}")


@pytest.mark.skipif(shutil.which("systemd-escape") is None, reason="systemd-escape is not here")
def test_systemd_reads_it_as_it_was_meant() -> None:
    instance = escape_instance("a+b.c@d")
    said = subprocess.run(
        ["systemd-escape", "--unescape", instance], check=True, capture_output=True, text=True
    ).stdout
    assert said == "a+b.c@d\n"


def test_units_of_one_server() -> None:
    assert service_unit("irc") == "tapd@irc.service"
    assert socket_unit("a+b") == r"tapd@a\x2bb.socket"
    assert timer_unit("irc") == "tapd@irc.timer"
    assert typed_unit("irc") == "tapd@irc"


@pytest.mark.parametrize("name", ["irc", "a+b.c@d"])
def test_what_is_typed_reaches_systemctl_as_it_was_meant(name: str) -> None:
    echo = ["sh", "-c", f"printf '%s.service' {typed_unit(name)}"]
    assert subprocess.check_output(echo, text=True) == service_unit(name)
