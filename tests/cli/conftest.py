"""A server type of the tests' own, and machines in temporary directories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tapd.cli.machine import Machine

EXAMPLE = """
import click
from tapd.errors import UsageError
from tapd.model.server_type import Made, ServerType
from tapd.model.service import Service
from tapd.model.setting import ACCOUNT_SETTINGS, number_setting

class Echo(Service):
    settable = {
        **ACCOUNT_SETTINGS,
        "repeats": number_setting("repeats", "how often"),
        "lineBytes": number_setting("line_bytes", "longest line"),
    }

    def __init__(self, greeting):
        self.greeting = greeting
        self.repeats = 1
        self.line_bytes = 80

def make(application, options):
    if options["greeting"] == "rude":
        raise UsageError("--greeting rude: be friendly")
    if options["password"]:
        application.authorizer.add_account(options["user"], options["password"])
    if options["greeting"] == "hush":
        return Made(Echo("hush"), ["The word is hush."])
    return Echo(options["greeting"])

example = ServerType(
    name="example-echo",
    summary="Says everything again.",
    make=make,
    options=[
        click.Option(["--greeting"], default="hello", help="Said first."),
        click.Option(["--times"], type=click.IntRange(1, 9), default=1),
        click.Option(["-u", "--user"], default="admin"),
        click.Option(["-w", "--password"]),
    ],
    settings={name: Echo.settable[name] for name in ("repeats", "lineBytes")},
    defaults=lambda: Echo("hello"),
    default_port="4000",
    aliases=("example-repeat",),
    welcome=lambda application, options: [f"It says {options['greeting']}."],
)
portless = ServerType(name="example-portless", summary="Has no usual port.",
                      make=lambda application, options: Service())
no_defaults = ServerType(
    name="example-defaultless", summary="Forgot one argument.", settings=example.settings,
    make=lambda application, options: Echo("hello"), default_port="4000",
)
nothing = 5
"""
ENTRY_POINTS = """\
[tapd.types]
example-echo = tapd_example_types:example
example-portless = tapd_example_types:portless
example-broken = tapd_example_missing:gone
example-defaultless = tapd_example_types:no_defaults
example-wrong = tapd_example_types:nothing
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, the example types installed, a key of its own."""
    site = tmp_path / "site"
    info = site / "tapd_example_types-1.dist-info"
    info.mkdir(parents=True)
    (site / "tapd_example_types.py").write_text(EXAMPLE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tapd-example-types\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("TAPD_KEY_FILE", str(tmp_path / "key"))
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    yield directory
    monkeypatch.delitem(__import__("sys").modules, "tapd_example_types", raising=False)


@pytest.fixture
def by_hand() -> Machine:
    return Machine(is_system=False)


@pytest.fixture
def system(tmp_path: Path) -> Machine:
    """A machine that systemd booted, with a systemctl that writes down what it was asked."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    systemctl.chmod(0o755)
    return Machine(
        is_system=True,
        state_directory=tmp_path / "state" / "tapd",
        unit_directory=tmp_path / "units",
        systemctl=(str(systemctl),),
    )
