"""Masks (RFC 2812 section 2.5; IRCv3 account-extban) and names (RFC 2812 sections 1.3, 2.3.1)."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.services.irc.wire import names
from tapd.services.irc.wire.masks import (
    compile_glob,
    is_mask,
    mask_matches,
    matches,
    normalize_mask,
)


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_globs_match_what_fnmatch_does(pattern: str, text: str) -> None:
    assert matches(pattern, text) == fnmatch.fnmatchcase(text, pattern)


def test_case_is_folded_in_ascii_only() -> None:
    assert matches("ABC*", "abcd")
    assert not matches("É", "é")
    assert names.fold("[A]Ä") == "[a]Ä"


def test_a_mask_of_many_stars_costs_no_more() -> None:
    compile_glob.cache_clear()
    begin = time.process_time()
    assert not matches("*a" * 60 + "c", "a" * 300 + "b")
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("nick", "nick!*@*"),
        ("a!b", "a!b@*"),
        ("a!b@c", "a!b@c"),
        ("b@c", "*!b@c"),
        ("*@c", "*!*@c"),
        ("1.2.3.4", "*!*@1.2.3.4"),
        ("2001:db8::*", "*!*@2001:db8::*"),
        ("!@", "*!*@*"),
        ("~a:Ann", "~a:Ann"),
    ],
)
def test_what_is_missing_of_a_mask_is_added(text: str, mask: str) -> None:
    assert normalize_mask(text) == mask


def test_masks_of_accounts() -> None:
    assert mask_matches("~a:an*", [], "Ann")
    assert not mask_matches("~a:*", [], "")
    assert is_mask("~a:ann")
    assert not is_mask("~a:")
    assert not is_mask("~x:ann")
    assert not is_mask("a b")


def test_a_mask_matches_any_of_the_sources() -> None:
    sources = ["n!u@cloak.example", "n!u@192.0.2.7"]
    assert mask_matches("*!*@192.0.2.*", sources, "")
    assert mask_matches("*!*@*.example", sources, "")
    assert not mask_matches("x!*@*", sources, "")


@pytest.mark.parametrize("nick", ["a", "Ann", "[w]", "`^", "a-1", "_", "a" * 32])
def test_nicks(nick: str) -> None:
    assert names.is_nick(nick)


@pytest.mark.parametrize("nick", ["", "1a", "-a", "a b", "a!", "é", "#a", "a" * 33, "a\n", "a."])
def test_no_nicks(nick: str) -> None:
    assert not names.is_nick(nick)


@pytest.mark.parametrize("name", ["#a", "##", "#É!", "#" + "a" * 63])
def test_channel_names(name: str) -> None:
    assert names.is_channel_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "#",
        "a",
        "#a b",
        "#a,b",
        "#a\a",
        "#" + "a" * 64,
        "&a",
        "#a\u200b",
        "#\u202ea",
        "#a\u3000b",
        "#a\x03",
    ],
)
def test_no_channel_names(name: str) -> None:
    assert not names.is_channel_name(name)


@given(st.text(max_size=50), st.integers(0, 60))
def test_clipping_cuts_between_characters(text: str, limit: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return  # lone surrogates don't come in through UTF-8
    clipped = names.clip(text, limit)
    assert text.startswith(clipped)
    assert len(clipped.encode()) <= limit
    assert clipped == text or size > limit
