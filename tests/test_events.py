"""Every kind of event is logged somewhere and explained by the catalog; nothing else is."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from pathlib import Path

from tapd import events

TOP = Path(__file__).parents[1]
CATALOG = TOP / "packaging" / "catalog" / "tapd.catalog"
SOURCE = TOP / "src" / "tapd"
MODULES = [events, *(
    importlib.import_module(f"tapd.services.{path.parent.name}.events")
    for path in sorted(SOURCE.glob("services/*/events.py"))
)]  # fmt: skip
"""Where events are listed: those of the core, then those of each server type."""
LISTED = [
    (name, value)
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, events.Event)
]
EVENTS = dict(LISTED)
CODE = {path: path.read_text() for path in SOURCE.rglob("*.py") if path.name != "events.py"}


def entries() -> dict[str, str]:
    """Return the catalog's texts, heads included, by message id (systemd's catalog syntax)."""
    text = "\n".join(line for line in CATALOG.read_text().splitlines() if line[:1] != "#")
    found = re.split(r"^-- ([0-9a-f]{32})$", text, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def test_ids_are_well_formed_and_given_once() -> None:
    assert len(EVENTS) == len(LISTED), "two lists have an event of the same name"
    ids = [event.message_id for event in EVENTS.values()]
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)
    assert max(Counter(ids).values()) == 1


def test_code_and_catalog_agree_one_to_one() -> None:
    assert {event.message_id for event in EVENTS.values()} == set(entries())
    named = re.findall(r"^# ([A-Z_]+)\n-- ([0-9a-f]{32})$", CATALOG.read_text(), re.MULTILINE)
    assert {name: EVENTS[name].message_id for name, _id in named} == dict(named)
    assert len(named) == len(EVENTS)


def test_every_event_is_logged_somewhere_and_no_unknown_one_is() -> None:
    used = {
        name for text in CODE.values() for name in re.findall(r"\bevents\.([A-Z][A-Z_]+)\b", text)
    }
    assert used == set(EVENTS)


def test_ids_are_written_down_in_one_place() -> None:
    for path, text in CODE.items():
        assert not re.search(r"MESSAGE_ID[\"']?\s*[:=]\s*[\"'][0-9a-f]{32}", text), path


def test_the_core_lists_no_event_of_one_server_type() -> None:
    for name in (name for name, event in vars(events).items() if isinstance(event, events.Event)):
        used_in = {
            path.relative_to(SOURCE).parts[:2]
            for path, text in CODE.items()
            if re.search(rf"\bevents\.{name}\b", text)
        }
        assert len(used_in) > 1 or next(iter(used_in))[0] != "services", name


def test_each_entry_says_what_happened_and_what_to_do() -> None:
    for message_id, entry in entries().items():
        head, _, body = entry.strip().partition("\n\n")
        assert re.match(r"Subject: .+\nDefined-By: tapd\nDocumentation: \S+$", head), message_id
        assert len(body.strip().split("\n\n")) >= 2, f"{message_id}: what to do is missing"
        assert max(map(len, entry.splitlines())) <= 90


CALLS = [
    node
    for text in CODE.values()
    if "events." in text
    for node in ast.walk(ast.parse(text))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
]


def fields_of(name: str) -> set[str]:
    """Return the fields that every log call with this event passes."""
    calls = [
        {str(word.arg) for word in call.keywords}
        for call in CALLS
        if ast.unparse(call.func) == f"events.{name}"
    ]
    return set.intersection(*calls)


PEER = {"TAPD_PEER_UID", "TAPD_PEER_PID"}
"""Passed as ``**peer.fields`` (`host.control`)."""

BY_NAME = {"STARTED", "RESUMED"}
"""Chosen first and called afterwards, with the same fields (`host.story`)."""


def test_the_catalog_names_only_fields_that_are_there() -> None:
    for name, event in EVENTS.items():
        named = set(re.findall(r"@(TAPD_[A-Z_]+)@", entries()[event.message_id]))
        if name in BY_NAME:
            story = (TOP / "src/tapd/host/story.py").read_text()
            there = set(re.findall(r"\b(TAPD_[A-Z_]+)=", story.partition("extra=event(")[2]))
        else:
            there = fields_of(name) | PEER if named else set()
        assert named <= there, name


def test_the_page_lists_every_event() -> None:
    page = (TOP / "docs" / "journal.md").read_text()
    listed = re.findall(r"^\| `([0-9a-f]{32})` \|", page, re.MULTILINE)
    assert listed == [event.message_id for event in EVENTS.values()]
