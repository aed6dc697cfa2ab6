"""The fenced blocks of a documentation page, and what is to be done with each.

A comment right above a block says so; it shows in neither the built site nor on
a forge's page:

``<!-- file: PATH -->``
    the block is a file; it is written into the page's directory. With ``same as
    examples/NAME`` behind it, it has to equal that file of this repository.
``<!-- server: NAME -->``
    a terminal of that name whose command goes on. A later block of that name
    shows what else appeared there; a line ``^C`` is typed there.
``<!-- client: NAME -->``
    a client of that name: the command (``$ nc HOST PORT``) connects, a line
    behind ``> `` is typed, every other one is received. Later blocks go on.
``<!-- not run: REASON -->``
    it is only read. A page whose blocks are all checked elsewhere says so once,
    above its first: ``<!-- no block is run: REASON -->``.

Without a comment a ``console`` block is run in a shell and what it prints is
compared (a line behind ``> `` goes on with the command above it); a ``python`` block
is run, together with those of the page before it.
Anything else needs a comment.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from markdown_it import MarkdownIt

_COMMENT = re.compile(
    r"<!--\s*(file|server|client|not run|no block is run)(?:: *(.*?))?\s*-->\s*\Z"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """One block of a page.

    Attributes:
        kind: ``file``, ``server``, ``client``, ``not run``, ``console`` or ``python``.
        argument: what stands behind the kind's name in its comment.
        text: what stands between the fences.
        line: of the page where it begins, from 1.
    """

    kind: str
    argument: str
    text: str
    line: int


def parse_page(path: Path) -> list[Block]:
    """Return the blocks of the page at `path`.

    Raises:
        AssertionError: of a block it is not said what to do with it.
    """
    blocks = []
    comment: tuple[str, str] | None = None
    for token in MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8")):
        if token.type == "html_block":
            found = _COMMENT.match(token.content)
            comment = (found[1], found[2] or "") if found else None
            if comment and comment[0] == "no block is run":
                assert comment[1], f"{path.name}: no reason is given"
                return []
            continue
        if token.type in {"fence", "code_block"} and not token.info.startswith("{"):
            line = (token.map or [0])[0] + 1
            kind, argument = comment or (token.info, "")
            where = f"{path.name}:{line}"
            assert comment or kind in {"console", "python"}, f"{where}: what is to be done with it?"
            assert argument or not comment, f"{where}: {kind} says no more"
            blocks.append(Block(kind, argument, token.content, line))
        comment = None
    return blocks
