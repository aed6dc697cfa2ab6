"""The harness for tests of turns; see `harness`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Harness, harnesses


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Harness]]:
    """Return a function that serves an application in this process."""
    yield from harnesses(tmp_path)
