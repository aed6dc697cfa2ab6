"""Keys at every split, and the width of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.wire.terminal.keys import Key, Paste, Text, advance, next_key, show

_INPUT = st.lists(
    st.one_of(
        st.sampled_from([b"\x1b", b"\x1b[", b"\x1bO", b"A", b"~", b"3", b";", b"5", b"\x7f"]),
        st.sampled_from([b"\x1b[200~", b"\x1b[201~", "\xe4".encode(), "\u65e5".encode(), b"x" * 9]),
        st.binary(max_size=3),
    ),
    max_size=20,
).map(b"".join)


def _keys(chunks: list[bytes]) -> tuple[list[Text | Key | Paste], bytes]:
    keys: list[Text | Key | Paste] = []
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        start = 0
        while start < len(buffer):
            key, end = next_key(buffer, start)
            if key is None:
                break
            assert end > start
            start = end
            if isinstance(key, Text) and keys and isinstance(keys[-1], Text):
                keys[-1] = Text(keys[-1].text + key.text)
            else:
                keys.append(key)
        buffer = buffer[start:]
    return keys, buffer


@given(_INPUT)
def test_every_split_reads_alike(data: bytes) -> None:
    whole = _keys([data])
    for index in range(len(data) + 1):
        assert _keys([data[:index], data[index:]]) == whole
    assert _keys([data[index : index + 1] for index in range(len(data))]) == whole


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x01", "C-a"),
        (b"\n", "Enter"),
        (b"\x7f", "Backspace"),
        (b"\x08", "Backspace"),
        (b"\t", "Tab"),
        (b"\x1bb", "M-b"),
        (b"\x1b\x7f", "M-Backspace"),
        (b"\x1b[A", "Up"),
        (b"\x1bOA", "Up"),
        (b"\x1b[1;5D", "C-Left"),
        (b"\x1b[3~", "Delete"),
        (b"\x1b[H", "Home"),
        (b"\x1b[4~", "End"),
        (b"\x1b[99~", ""),
    ],
)
def test_named_keys(data: bytes, name: str) -> None:
    assert next_key(data, 0) == (Key(name), len(data))


def test_a_paste_is_one_key() -> None:
    assert next_key(b"\x1b[200~a\nb\x1b[201~", 0) == (Paste("a\nb"), 15)
    assert next_key(b"\x1b[200~a\nb\x1b[201", 0) == (None, 0)


def test_invalid_text_is_replaced() -> None:
    assert _keys([b"a\xffb\xc3", b"("]) == ([Text("a\ufffdb\ufffd(")], b"")
    assert _keys([b"\xc3"]) == ([], b"\xc3")


def test_width_of_text() -> None:
    assert advance("abc", 0, 0, 80) == (0, 3)
    assert advance("a" * 80, 0, 0, 80) == (1, 0)
    assert advance("\u65e5\u672c", 0, 0, 80) == (0, 4)
    assert advance("\u65e5", 0, 79, 80) == (1, 2)  # never across the margin
    assert advance("e\u0301", 0, 0, 80) == (0, 1)
    assert advance("\t", 0, 0, 80) == (0, 2)
    assert show("a\x1b\x7f\u200b") == "a^[^?<200b>"
