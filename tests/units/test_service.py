"""The drop-in of a server's options: what opens what, and whose lines stay."""

from __future__ import annotations

import pytest

from tapd.errors import UsageError
from tapd.model.address import parse_address
from tapd.units.render import (
    SocketOptions,
    change_ports_drop_in,
    new_ports_drop_in,
    without_ports,
)
from tapd.units.service import (
    ServiceOptions,
    change_service_drop_in,
    new_service_drop_in,
    without_options,
)
from tapd.units.unitfile import UnitFile, parse_unit_file

ALL = ServiceOptions(
    idle_exit_s=60, network=True, read=("/home/me/files",), write=("/srv/100%",), memory_max="1G"
)


def change(options: ServiceOptions, unit: UnitFile | None = None) -> UnitFile:
    return change_service_drop_in(unit or new_service_drop_in("x"), options)


def settings(unit: UnitFile) -> list[tuple[str, str]]:
    return list(unit.settings("Service"))


def test_everything_at_once() -> None:
    unit = change(ALL)
    assert settings(unit) == [
        ("Environment", "TAPD_MADE_OPTIONS=--idle-exit=60"),
        ("PrivateNetwork", "no"),
        ("IPAddressDeny", ""),
        ("RestrictAddressFamilies", "AF_INET AF_INET6"),
        ("BindReadOnlyPaths", "/home/me/files"),
        ("BindPaths", "/srv/100%%"),
        ("ProtectHome", "tmpfs"),
        ("MemoryMax", "1G"),
    ]
    assert change(ALL, unit) == unit, "told the same again, nothing changes"
    assert parse_unit_file(unit.render()) == unit


def test_each_is_taken_back_and_the_others_stay() -> None:
    unit = change(ALL)
    for options, gone in (
        (ServiceOptions(idle_exit_s=0), {"Environment"}),
        (
            ServiceOptions(network=False),
            {"PrivateNetwork", "IPAddressDeny", "RestrictAddressFamilies"},
        ),
        (ServiceOptions(read=()), {"BindReadOnlyPaths", "ProtectHome"}),
        (ServiceOptions(write=()), {"BindPaths"}),
        (ServiceOptions(memory_max="none"), {"MemoryMax"}),
    ):
        left = change(options, unit)
        assert settings(left) == [pair for pair in settings(unit) if pair[0] not in gone]
    assert change(ServiceOptions(), unit) == unit


def test_what_people_wrote_stays() -> None:
    """Lossless: their comments, their spacing, their settings, in their order."""
    text = change(ALL).render().replace(
        "[Service]\n",
        "[Service]\n# mine\nNice = 5\nEnvironment=LANG=C.UTF-8\n"
        "Environment=TAPD_OPTIONS=--sync=always\n",
    ) + "\n[Unit]\nWants=other.service \\\n  another.service"  # fmt: skip
    unit = change(ServiceOptions(idle_exit_s=5, network=False), parse_unit_file(text, "drop-in"))
    assert ("Environment", "TAPD_MADE_OPTIONS=--idle-exit=5") in settings(unit)
    expected = text.replace("--idle-exit=60", "--idle-exit=5")
    for line in ("PrivateNetwork=no", "IPAddressDeny=", "RestrictAddressFamilies=AF_INET AF_INET6"):
        expected = expected.replace(line + "\n", "")
    assert unit.render() == expected
    left = without_options(unit, "x")
    assert settings(left) == [
        ("Nice", "5"),
        ("Environment", "LANG=C.UTF-8"),
        ("Environment", "TAPD_OPTIONS=--sync=always"),
    ]
    assert "# mine" in left.render()


def test_nothing_is_left_where_nobody_added_anything() -> None:
    for name in ("x", "a.b", "a+b"):
        assert not without_options(change(ALL, new_service_drop_in(name)), name).has_settings
    ports = change_ports_drop_in(
        new_ports_drop_in("x"), parse_address("unix:/x"), SocketOptions("0660", "www-data")
    )
    assert not without_ports(ports).has_settings


@pytest.mark.parametrize(
    "options",
    [
        ServiceOptions(idle_exit_s=-1),
        ServiceOptions(idle_exit_s=float("nan")),
        ServiceOptions(read=("files",)),
        ServiceOptions(write=("/",)),
        ServiceOptions(write=("/srv/../etc",)),
        ServiceOptions(write=("/srv/a b",)),
        ServiceOptions(read=("/srv/a\nExecStart=/bin/sh",)),
        ServiceOptions(memory_max="much"),
        ServiceOptions(memory_max="1G\nNice=1"),
    ],
)
def test_what_makes_no_sense_is_refused(options: ServiceOptions) -> None:
    with pytest.raises(UsageError):
        change(options)


@pytest.mark.parametrize(
    "options", [SocketOptions("rw"), SocketOptions("0888"), SocketOptions(group="a b\nX=1")]
)
def test_wrong_socket_options_are_refused(options: SocketOptions) -> None:
    with pytest.raises(UsageError, match="--socket-"):
        change_ports_drop_in(new_ports_drop_in("x"), parse_address("unix:/x"), options)


def test_socket_options_want_a_unix_socket() -> None:
    with pytest.raises(UsageError, match="UNIX"):
        change_ports_drop_in(new_ports_drop_in("x"), parse_address("1"), SocketOptions("0660"))


def test_a_port_changes_and_nothing_else() -> None:
    text = (
        "# mine\n[Socket]\nListenStream=127.0.0.1:1\n# of the port\nBacklog=9\n"
        "ListenStream=[::1]:1\nNoDelay=yes\n\n[Unit]\nDescription=Mine"
    )
    unit = change_ports_drop_in(parse_unit_file(text), parse_address("2"))
    assert unit.render() == text.replace(
        "ListenStream=127.0.0.1:1\n", "ListenStream=127.0.0.1:2\nListenStream=[::1]:2\n"
    ).replace("ListenStream=[::1]:1\n", "")


def test_an_odd_name_has_a_user_and_directories_of_its_own() -> None:
    assert dict(settings(new_service_drop_in("a.b")))["User"].startswith("tapd-a_b-")
    plus = dict(settings(new_service_drop_in("a+b")))
    assert plus["StateDirectory"] == "tapd/a+b"
    assert plus["ExecStart"].endswith(" /var/lib/tapd/a+b/a+b.tap")
    own = dict(settings(new_service_drop_in("a+b", is_user=True)))
    assert "User" not in own
    assert own["ExecStart"].endswith(" %h/.local/state/tapd/a+b/a+b.tap")
    assert not new_service_drop_in("a.b", is_user=True).has_settings
