"""Programs, with and without tapd: they answer the same, and leave the same graphs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.twin.kit import UnderKit
from tests.twin.limits import LEFT_OUT
from tests.twin.maker import make_program
from tests.twin.program import TURN, Cell, parse_program, render_program
from tests.twin.real import UnderServer
from tests.twin.runs import WORLDS, Tally, run_seeds, shrunk
from tests.twin.shrink import shrink
from tests.twin.under import UnderJar, UnderPrompt, UnderTapd, differ
from tests.twin.worlds import Twin, compare, transcript_of

HERE = Path(__file__).parent
CHUNKS = [
    *((UnderJar, first, 250) for first in range(1, 1001, 250)),
    *((UnderPrompt, first, 75) for first in range(10_001, 10_151, 75)),
    *((UnderKit, first, 30) for first in range(20_001, 20_061, 30)),
]


@pytest.mark.parametrize(
    ("world", "first", "count"), CHUNKS, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_programs(
    world: type[UnderTapd], first: int, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a program does, it does the same under tapd."""
    tally = Tally()
    for failure in run_seeds(range(first, first + count), world, tally):
        pytest.fail(shrunk(failure, world), pytrace=False)
    with capsys.disabled():
        print(f"\n{world.__name__}: {tally}", end=" ")
    assert tally.programs == count
    assert tally.kills >= count


@pytest.mark.parametrize("seed", [50_001, 50_002, 50_003])
def test_a_few_programs_on_a_real_server(seed: int) -> None:
    """Killed by SIGKILL, audited at each save."""
    for failure in run_seeds([seed], UnderServer, Tally()):
        pytest.fail(str(failure.difference) + render_program(failure.program), pytrace=False)


FOUND = sorted((HERE / "found").glob("*.program"))


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_once(path: Path, world: type[UnderTapd]) -> None:
    difference = differ(parse_program(path.read_text()), kind=world)
    assert difference is None, f"{path}\n{difference}"


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_limit_is_one(name: str) -> None:
    """What is left out does differ still: else it is time to put it in."""
    program = parse_program((HERE / "left_out" / _file_name(name)).read_text())
    assert any(differ(program, kind=world) for world in WORLDS.values())


def test_each_left_out_program_is_a_limit() -> None:
    names = {path.name for path in (HERE / "left_out").glob("*.program")}
    assert names == set(map(_file_name, LEFT_OUT))


def _file_name(limit: str) -> str:
    return re.sub(r"\W+", "_", limit).strip("_") + ".program"


@pytest.mark.parametrize("seed", range(30))
def test_a_seed_gives_the_same_program_again(seed: int) -> None:
    program, expected = make_program(seed)
    again, _ = make_program(seed)
    assert render_program(again) == render_program(program)
    assert parse_program(render_program(program)) == program
    assert compare(expected, transcript_of(program, Twin(program.classes))) is None


BROKEN = """\
class K1:
    def __init__(self, name, a=None, b=None):
        self.name, self.a, self.b = name, a, b


class K2:
    pass

# %% turn
app.a = [1, 2]
app.b = {}
app.c = K1(name='n1')

# %% save

# %% turn
show(app.a)
app.c.a = app.a
app.b['x'] = 1

# %% kill
"""


class Forgetful(UnderJar):
    """A tapd that loses the last record before a kill."""

    def happen(self, event: str) -> None:
        """Lose it."""
        if event == "kill" and self._records:
            self._records.pop()
        super().happen(event)


def test_a_planted_loss_is_found_and_shrinks() -> None:
    """The comparison can fail, and what is left is the one statement that matters."""
    program = parse_program(BROKEN)
    assert differ(program) is None
    difference = differ(program, kind=Forgetful)
    assert difference is not None
    assert difference.kind == "graph after kill"
    small = shrink(program, lambda each: differ(each, kind=Forgetful) is not None)
    lines = [line for cell in small.cells for line in cell.lines]
    assert len(lines) == 1
    assert not small.classes
    assert small.cells[-1] == Cell("kill")
    assert [cell.kind for cell in small.cells] == [TURN, "kill"]
