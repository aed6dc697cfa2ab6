"""`tapd`'s command line is read the same without argparse as with it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.cli.tapd.arguments import Arguments, parse_plain
from tapd.cli.tapd.command import parse_arguments
from tapd.cli.tapd.usage import make_parser

WORDS = st.sampled_from(
    ["a.tap", "b", "--sync", "--sync=2", "--checkpoint=9", "--checkpoint", "--idle-exit", "0.3",
     "--idle-exit=x", "-1", "--idle-exit=-1", "--idle_exit=1", "--socket-mode=", "--socket-group=g",
     "--sy=2", "--nothing", "--", "-", "", "=", "nan", "--=1", "--tap=x", "-sync=1"]
)  # fmt: skip


def with_argparse(words: list[str]) -> Arguments | None:
    try:
        return Arguments(**vars(make_parser().parse_args(words)))
    except SystemExit:
        return None


@given(st.lists(WORDS, max_size=5))
def test_what_is_parse_plainly_is_what_argparse_reads(words: list[str]) -> None:
    plain = parse_plain(words)
    if plain is not None and "nan" not in words:
        assert plain == with_argparse(words)


def test_a_units_command_line_is_plain() -> None:
    words = ["--idle-exit", "0.3", "--sync=always", "/var/lib/tapd/x/x.tap"]
    assert parse_plain(words) == Arguments("/var/lib/tapd/x/x.tap", sync="always", idle_exit=0.3)
    code = (
        "import sys; from tapd.cli.tapd.command import parse_arguments; "
        f"parse_arguments({words!r}); print('argparse' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


def test_defaults_are_the_same() -> None:
    assert parse_arguments(["a.tap"]) == with_argparse(["a.tap"]) == Arguments("a.tap")


@pytest.mark.parametrize("words", [[], ["a", "b"], ["--sync"], ["--checkpoint=soon", "a"]])
def test_what_is_wrong_is_left_to_argparse(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(words)
    assert ended.value.code == 64


def test_who_knows_twistd_is_told_the_new_way(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["-f", "telnet.tap"])
    assert "the TAP is named without -f" in capsys.readouterr().err
