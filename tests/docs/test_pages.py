"""Every example of the documentation is run, and what it shows is what happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_pages import parse_page
from doc_sessions import Session

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_the_page_shows_happens(page: Path, tmp_path: Path) -> None:
    session = Session(tmp_path)
    try:
        for block in parse_page(page):
            try:
                session.do(block)
            except AssertionError as error:
                logs = "\n".join(
                    f"--- terminal {name}:\n{terminal.printed}"
                    for name, terminal in session.terminals.items()
                )
                raise AssertionError(f"{page.name}:{block.line}: {error}\n{logs}") from None
    finally:
        session.close()
