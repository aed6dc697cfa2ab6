"""Fixtures of the IRC tests; the kit is `irc_kit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Harness, harnesses
from irc_kit import Irc, make_network


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Harness]]:
    yield from harnesses(tmp_path)


@pytest.fixture
def irc(serve: Callable[..., Harness]) -> Irc:
    return Irc(serve(make_network()))
