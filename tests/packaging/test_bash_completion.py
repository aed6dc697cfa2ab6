"""Completion in a real bash: what Tab offers for each command, and how soon."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tapd.cli.tapd import usage

TOP = Path(__file__).parents[2]
FILE = TOP / "packaging" / "bash-completion" / "tapd"
COMMANDS = Path(sys.executable).parent

_COMPLETE = """
. "$1"
shift
# As readline does it: the words so far, and the function that `complete` names.
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
function=$(complete -p "${1##*/}" | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
$function "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
[[ ${#COMPREPLY[@]} = 0 ]] || printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(script: str, *arguments: str | Path, cwd: Path) -> str:
    path = f"{COMMANDS}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-uc", script, "bash", *arguments],
        check=True, capture_output=True, text=True, cwd=cwd, timeout=120,
        env={"PATH": path, "HOME": str(cwd), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def offered(tmp_path: Path, *words: str) -> list[str]:
    return bash(_COMPLETE, FILE, *words, cwd=tmp_path).split("\n")[:-1]


def test_types(tmp_path: Path) -> None:
    assert "telnet" in offered(tmp_path, "tapd-mktap", "")
    assert offered(tmp_path, "tapd-mktap", "tel") == ["telnet"]


def test_options_of_a_type(tmp_path: Path) -> None:
    assert offered(tmp_path, "tapd-mktap", "telnet", "--pas") == ["--password", "--password-file"]
    assert "--login-time" in offered(tmp_path, "tapd-mktap", "telnet", "--port", "1", "--")
    assert offered(tmp_path, "tapd-mktap", "--vers") == ["--version"]


@pytest.mark.parametrize("equals", [[], ["="]])
def test_values_of_an_option(tmp_path: Path, equals: list[str]) -> None:
    words = ["tapd-mktap", "telnet", "--namespace", *equals]
    assert offered(tmp_path, *words, "") == ["shared", "private"]
    assert offered(tmp_path, *words, "pr") == ["private"]
    if equals:
        assert offered(tmp_path, *words) == ["shared", "private"]


def test_files(tmp_path: Path) -> None:
    (tmp_path / "with blank.tap").touch()
    (tmp_path / "other").mkdir()
    for words in (["tapd"], ["tapd-mktap", "telnet", "--append"], ["tapctl", "import"]):
        assert offered(tmp_path, *words, "wi") == ["with blank.tap"], words
    (tmp_path / "no-tap").touch()
    assert offered(tmp_path, "tapd", "n") == []
    assert offered(tmp_path, "tapd", "o") == ["other"]
    assert offered(tmp_path, "tapctl", "list", "o") == ["other"]


def test_names_of_servers(tmp_path: Path) -> None:
    for name in ("chat", "chess", "telnet"):
        (tmp_path / ".local/state/tapd" / name).mkdir(parents=True)
    assert offered(tmp_path, "tapd-mktap", "--user", "--remove", "ch") == ["chat", "chess"]
    assert offered(tmp_path, "tapd-mktap", "telnet", "--name", "tel") == ["telnet"]


def test_tapctl(tmp_path: Path) -> None:
    (tmp_path / "chat.tap").touch()
    assert offered(tmp_path, "tapctl", "st") == ["status"]
    assert offered(tmp_path, "tapctl", "rel") == ["reload"]
    assert offered(tmp_path, "tapctl", "reload", "ch") == ["chat.tap"]
    assert offered(tmp_path, "tapctl", "show", "--gen") == ["--generation"]
    assert offered(tmp_path, "tapctl", "status", "ch") == ["chat.tap"]
    assert offered(tmp_path, "tapctl", "export", "chat.tap", "ch") == ["chat.tap"]


def test_options_of_tapd_are_those_of_its_parser(tmp_path: Path) -> None:
    names = {name for action in usage.make_parser()._actions for name in action.option_strings}
    assert set(offered(tmp_path, "tapd", "-")) == names
    assert offered(tmp_path, "tapd", "--sync", "a") == ["always"]
    assert offered(tmp_path, "tapd", "--sync", "=", "n") == ["never"]
    assert offered(tmp_path, "tapd", "--checkpoint", "") == []


def test_a_command_that_fails_offers_nothing(tmp_path: Path) -> None:
    """A broken installation is no traceback at a person's prompt."""
    commands = tmp_path / "bin"
    commands.mkdir()
    broken = commands / "tapd-mktap"
    broken.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    broken.chmod(0o755)
    assert offered(tmp_path, str(broken), "") == []


def test_a_second_tab_starts_no_process(tmp_path: Path) -> None:
    """Lists are asked for once; loading the file asks for nothing at all."""
    log = tmp_path / "log"
    stub = tmp_path / "tapd-mktap"
    stub.write_text('#!/bin/sh\necho "$COMP_WORDS" >>log\necho plain,--port\n')
    stub.chmod(0o755)
    script = """
. "$1"
[[ ! -e log ]]
for _ in 1 2 3; do
    COMP_WORDS=(./tapd-mktap telnet --p) COMP_CWORD=2
    _tapd_mktap_completion ./tapd-mktap
    [[ ${COMPREPLY[*]} == --port ]]
done
"""
    bash("set -e\n" + script, FILE, cwd=tmp_path)
    assert len(log.read_text().splitlines()) == 1


def test_tab_answers_soon(tmp_path: Path) -> None:
    """A first Tab costs one start of the command: well below what is felt as waiting."""
    if shutil.which("tapd-mktap", path=str(COMMANDS)) is None:
        pytest.skip("the commands are not installed beside this Python")
    before_s = children_cpu_s()
    bash("exec tapd-mktap --help >/dev/null", cwd=tmp_path)
    help_s = children_cpu_s() - before_s
    assert offered(tmp_path, "tapd-mktap", "tel") == ["telnet"]
    tab_s = children_cpu_s() - before_s - help_s
    assert tab_s < 2 * help_s


def children_cpu_s() -> float:
    """Return the processor time of all children so far; others' load does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
