"""The harness for tests of turns; see `harness`."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "storm")]

from harness import Harness, harnesses


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Harness]]:
    """Return a function that serves an application in this process."""
    yield from harnesses(tmp_path)
