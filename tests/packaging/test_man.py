"""The man pages: well formed, and in agreement with the commands that they describe."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tapd import errors
from tapd.cli.machine import Machine
from tapd.cli.mktap.command import TypeGroup
from tapd.cli.mktap.command import command as mktap_command
from tapd.cli.tapctl.command import main as tapctl_command
from tapd.cli.tapd import usage
from tapd.host.options import ASLEEP_STATUS
from tapd.store import tapfile
from tapd.store.journal import file as journal
from tapd.store.journal.damage import HEAD_BYTES, MAC_BYTES
from tapd.store.journal.records import FORMATS
from tapd.store.key import Key

TOP = Path(__file__).parents[2]
PAGES = sorted((TOP / "packaging" / "man").iterdir())
# Of no weight: what of the system's own pages is installed here, and long source lines.
_PASSED_OVER = ("referenced manual not found", "outdated mandoc.db", "longer than 80 bytes")

# Words that stand for an option's value, not for one of its names, are no option.
_OPTION = re.compile(r"--?[a-z][a-z-]*")


def source(name: str) -> str:
    return (TOP / "packaging" / "man" / name).read_text(encoding="utf-8")


def options_in(text: str) -> set[str]:
    """Return the options that a page's source marks as such: .Fl x, .Fl Fl long."""
    found = set()
    for line in text.splitlines():
        if not line.startswith("."):
            continue
        for dashes, name in re.findall(r"\b(Fl(?: Fl)?) ([a-z-]+)", line):
            found.add(("--" if dashes == "Fl Fl" else "-") + name)
    return found


def options_of(commands: Iterator[click.Command]) -> set[str]:
    found: set[str] = set()
    for each in commands:
        context = click.Context(each, **each.context_settings)
        for param in each.get_params(context):
            if isinstance(param, click.Option):
                found.update(param.opts, param.secondary_opts)
    return found


def walk(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    yield group
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield found


def section(text: str, title: str) -> str:
    _, _, rest = text.partition(f".Sh {title}\n")
    assert rest, title
    return rest.partition("\n.Sh ")[0]


def mktap() -> TypeGroup:
    return mktap_command(Machine(is_system=False))


# --- form -----------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing(page: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    said = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "style", page], check=False, capture_output=True, text=True
    ).stdout
    assert [line for line in said.splitlines() if not any(w in line for w in _PASSED_OVER)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_man_warns_of_nothing(page: Path) -> None:
    """As lintian runs it (man(1), groff(1))."""
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page],
        check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80",
                                                         "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.stderr == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_has_its_sections(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wanted = ["NAME", "DESCRIPTION", "FILES", "SEE ALSO"]
    if not page.name.endswith(".5"):
        wanted += ["SYNOPSIS", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES"]
    titles = re.findall(r"(?m)^\.Sh (.+)$", text)
    assert set(wanted) <= set(titles)
    name, number = page.name.rsplit(".", 1)
    assert f".Dt {name.upper()} {number}\n" in text


def test_pages_name_pages_that_exist() -> None:
    """What is ours among the cross references is there."""
    ours = {page.name for page in PAGES}
    for page in PAGES:
        for name, number in re.findall(r"\.Xr (tap\S+) (\d)", page.read_text(encoding="utf-8")):
            assert f"{name}.{number}" in ours, page.name


def test_units_name_man_pages() -> None:
    ours = {page.name for page in PAGES}
    units = [path for path in (TOP / "packaging" / "systemd").rglob("tapd*@*") if path.is_file()]
    assert units
    for unit in units:
        named = re.findall(r"(?m)^Documentation=.*?man:(\S+)\((\d)\)", unit.read_text())
        assert named, unit.name
        assert {f"{name}.{number}" for name, number in named} <= ours


def test_the_package_installs_every_page() -> None:
    listed = (TOP / "debian" / "manpages").read_text().split()
    assert sorted(listed) == [f"packaging/man/{page.name}" for page in PAGES]


# --- agreement with the commands ------------------------------------------------------


def test_options_of_tapd() -> None:
    parser = usage.make_parser()
    real = {name for action in parser._actions for name in action.option_strings}
    assert options_in(source("tapd.8")) == real


def test_options_of_tapd_mktap() -> None:
    """Those of all types, and of the types that are part of tapd."""
    assert mktap().broken == {}, "these can't be imported"
    real = options_of(walk(mktap()))
    assert options_in(source("tapd-mktap.1")) == real


def test_types_of_tapd_mktap() -> None:
    group = mktap()
    told = re.findall(r"(?m)^\.Ss ([a-z0-9-]+): ", section(source("tapd-mktap.1"), "OPTIONS"))
    assert sorted(told) == group.list_commands(click.Context(group))


def test_options_of_tapctl() -> None:
    assert isinstance(tapctl_command, click.Group)
    real = {"-h", "--help"}  # of the group, by its context settings
    real |= options_of(walk(tapctl_command))
    assert options_in(source("tapctl.1")) == real


def test_commands_of_tapctl() -> None:
    assert isinstance(tapctl_command, click.Group)
    real = tapctl_command.list_commands(click.Context(tapctl_command))
    told = re.findall(r"(?m)^\.It Cm (\S+)", section(source("tapctl.1"), "COMMANDS"))
    assert sorted(told) == real


def test_each_command_of_tapctl_has_its_own_options() -> None:
    """The synopsis of a command names those it has, by one of their names, and no others."""
    assert isinstance(tapctl_command, click.Group)
    text = section(source("tapctl.1"), "COMMANDS")
    for line in re.findall(r"(?m)^\.It Cm .+$", text):
        name = line.split()[2]
        command = tapctl_command.get_command(click.Context(tapctl_command), name)
        assert command is not None
        told = options_in(line)
        real = [set(param.opts) for param in command.params if isinstance(param, click.Option)]
        assert {option for names in real for option in names} >= told, name
        assert [names for names in real if not names & told] == [], name


# --- agreement with the code ------------------------------------------------------------


def statuses(name: str) -> set[int]:
    items = re.findall(r"(?m)^\.It ([\d ,]+)$", section(source(name), "EXIT STATUS"))
    return {int(number) for item in items for number in item.split(",")}


def known_statuses() -> set[int]:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    return {kind.exit_status for kind in kinds if issubclass(kind, errors.TapdError)}


def test_exit_statuses() -> None:
    """Every status of an error stands in a page, and the pages name no other."""
    pages = {name: statuses(name) for name in ("tapd.8", "tapd-mktap.1", "tapctl.1")}
    others = {0, 1, 2, 130, ASLEEP_STATUS}  # successes, a shell's own, and click's
    assert set().union(*pages.values()) - others == known_statuses() - others
    assert {ASLEEP_STATUS, errors.StartFailed.exit_status} <= pages["tapd.8"]
    for name, told in pages.items():
        assert {0, 64, 65, 66, 74, 75, 77, 78} <= told, name


def test_a_tap_is_as_the_page_says() -> None:
    """The table of the footer, read by a machine, finds the parts of a real TAP."""
    table = re.findall(r"(?m)^\.It (\w[\w ]*?) Ta (\d+) Ta (.+)$",
                       section(source("tapd.tap.5"), "THE TAP FILE"))  # fmt: skip
    pickle, key = b"\x80\x05N.", Key(bytes(32))
    manifest = tapfile.Manifest(3, "0" * 32, "x", "now", "3.11", "0.1")
    data = pickle + tapfile.render_tail(pickle, manifest, key)
    position = len(data) - sum(int(size) for _, size, _ in table)
    fields = {}
    for name, size, _ in table:
        fields[name] = data[position : position + int(size)]
        position += int(size)
    assert position == len(data)
    assert int.from_bytes(fields["stored_bytes"], "little") == len(pickle)
    assert fields["key id"].hex() == key.key_id
    magic = next(what for name, _, what in table if name == "magic")
    assert bytes.fromhex(magic) == fields["magic"] == tapfile.MAGIC
    assert int.from_bytes(fields["format"], "little") == tapfile.FORMAT
    assert data[: len(pickle)] == pickle


def test_manifest_fields_stand_in_the_page() -> None:
    told = set(re.findall(r"(?m)^\.Va (\w+)", section(source("tapd.tap.5"), "THE TAP FILE")))
    assert told | {"format"} == set(tapfile.Manifest.__match_args__)


def test_the_journal_is_as_the_page_says() -> None:
    text = section(source("tapd.tap.5"), "THE JOURNAL")
    assert f".Ql {journal.MAGIC.decode().strip()}\n" in text
    assert f".It mac Ta {MAC_BYTES} " in text
    assert f".It length Ta {HEAD_BYTES - MAC_BYTES} " in text
    formats = re.findall(r"(?m)^\.It (\d) Ta .+\n(?:\.Va (.+)\n)?", text)
    told = {int(number): tuple(re.findall(r"\w+", fields)) for number, fields in formats}
    assert told == {number: each.__match_args__ for number, each in FORMATS.items()}


def test_variables_and_fields_stand_in_the_pages() -> None:
    """Every TAPD_ word of the code is a variable or a journal field that a page explains."""
    sources = (TOP / "src" / "tapd").rglob("*.py")
    word = re.compile(r"\bTAPD_[A-Z]+(?:_[A-Z]+)*\b(?!_)")
    real = {name for path in sources for name in word.findall(path.read_text(encoding="utf-8"))}
    told = {name for page in PAGES for name in word.findall(page.read_text(encoding="utf-8"))}
    assert real | {"TAPD_OPTIONS"} == told
