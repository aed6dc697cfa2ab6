"""The runner of the documentation's examples fails where a page is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_pages import Block, parse_page
from doc_sessions import Session


def page(directory: Path, text: str) -> Path:
    path = directory / "page.md"
    path.write_text(text)
    return path


def do(directory: Path, text: str) -> None:
    here = directory / "here"
    here.mkdir()
    session = Session(here)
    try:
        for block in parse_page(page(directory, text)):
            session.do(block)
    finally:
        session.close()


def test_a_block_is_what_its_comment_says(tmp_path: Path) -> None:
    path = page(
        tmp_path,
        "<!-- file: a.py, same as b -->\n```python\n1\n```\n\n```console\n$ ls\n```\n",
    )
    assert parse_page(path) == [
        Block("file", "a.py, same as b", "1\n", 2),
        Block("console", "", "$ ls\n", 6),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "```\nwhat is this\n```\n",
        "    indented\n",
        "```toml\na = 1\n```\n",
        "<!-- not run -->\n```python\n1\n```\n",
        "<!-- file: a.py -->\n\nwords\n\n```toml\n```\n",
    ],
)
def test_a_block_that_nobody_explains_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(AssertionError):
        parse_page(page(tmp_path, text))


def test_a_page_can_say_that_it_is_checked_elsewhere(tmp_path: Path) -> None:
    path = page(tmp_path, "<!-- no block is run: another test does -->\n\n```\nwords\n```\n")
    assert parse_page(path) == []


UNTIL_CTRL_C = "trap 'echo down; exit' INT; echo up; while :; do sleep 0.02; done"


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ echo one; echo two\none\ntwo\n```\n",
        "```console\n$ seq 9\n1\n...\n9\n$ echo a b c\na ... c\n```\n",
        "```console\n$ date '+%F %T'\n2026-05-01 12:00:03\n```\n",
        "```console\n$ echo $PPID\n4711\n```\n",
        "```console\n$ echo 7 7\n4711 4711\n$ echo 4711\n7\n```\n",
        "```console\n$ echo 9000 9000 9001 | tr ' ' '\\n' | sort | uniq -c | wc -l\n2\n```\n",
        "```python\nx = 1\n```\n\n```python\nassert x == 1\n```\n",
        "<!-- file: a -->\n```\nwords\n```\n\n```console\n$ cat a\nwords\n```\n",
        f"<!-- server: s -->\n```console\n$ {UNTIL_CTRL_C}\nup\n^C\ndown\n```\n",
    ],
)
def test_what_is_shown_happens(tmp_path: Path, text: str) -> None:
    do(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ echo one\n```\n",
        "```console\n$ true\nmore\n```\n",
        "```console\n$ echo 7 8\n4711 4711\n```\n",
        "```console\n$ seq 9\n1\n...\n8\n```\n",
        "```python\nassert False\n```\n",
        "<!-- file: README, same as README.md -->\n```\nother words\n```\n",
    ],
)
def test_what_is_shown_and_does_not_happen_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(AssertionError):
        do(tmp_path, text)


SERVER = """
<!-- file: echo.py -->
```python
import socket
with socket.create_server(("127.0.0.1", 9000)) as server:
    print("listening", flush=True)
    sock = server.accept()[0]
    for line in sock.makefile("rb"):
        sock.sendall(line * 2)
```

<!-- server: s -->
```console
$ python echo.py
listening
```
"""


def test_a_client_gets_what_is_shown(tmp_path: Path) -> None:
    do(
        tmp_path,
        SERVER + "\n<!-- client: c -->\n```console\n$ nc 127.0.0.1 9000\n> one\none\none\n```\n"
        "\n<!-- client: c -->\n```console\n> two\ntwo\ntwo\n```\n",
    )


@pytest.mark.parametrize("shown", ["> one\none\n", "> one\none\ntwo\n"])
def test_a_client_that_gets_something_else_is_an_error(tmp_path: Path, shown: str) -> None:
    with pytest.raises(AssertionError):
        do(
            tmp_path,
            f"{SERVER}\n<!-- client: c -->\n```console\n$ nc 127.0.0.1 9000\n{shown}```\n",
        )
