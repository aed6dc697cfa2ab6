"""Turns a logged-in person's input into lines for the prompt, line by line or key by key.

Stateless: incomplete input stays in the session. A reader returns the input that has to
wait, because a coroutine that it started still runs, or because another reader must
handle it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tapd.wire.terminal.editor import Action, LineEditor
from tapd.wire.terminal.keys import PASTE_BEGIN, Key, Paste, Text, next_key, show

if TYPE_CHECKING:
    from tapd.services.telnet.session import ShellSession

_LINE_STOP = re.compile(rb"[\n\x03]|\A\x04|(?<=[\n\x03])\x04")
_is_whole_line = re.compile(rb"[ -~]+\n").fullmatch


def take_lines(session: ShellSession, data: bytes) -> bytes:
    """Run the whole lines in `data`; return the rest that has to wait."""
    buffer = session.pending + data
    start = 0
    while match := _LINE_STOP.search(buffer, start):
        line, stop = buffer[start : match.start()], match[0]
        start = match.end()
        if stop == b"\n":
            _run_line(session, line)
        elif stop == b"\x03":
            session.overlong = False
            session.interrupt()
        else:  # C-d at the start of a line; elsewhere it means nothing
            session.leave_block()
            buffer, start = buffer[start:], 0
        if session.leaving or session.is_busy:
            session.set_pending(b"")
            return buffer[start:]
    rest = buffer[start:]
    if len(rest) > session.service.line_bytes_max:
        session.overlong = True
    session.set_pending(b"" if session.overlong else rest)
    return b""


def _run_line(session: ShellSession, line: bytes) -> None:
    if session.overlong or len(line) > session.service.line_bytes_max:
        session.overlong = False
        session.refuse_line()
    else:
        session.push_line(line.replace(b"\x04", b"").decode("utf-8", "replace"))


def take_keys(session: ShellSession, data: bytes) -> bytes:
    """Edit with the keys in `data`; return the rest that has to wait."""
    if _is_whole_line(data) and _take_whole_line(session, data):
        return b""
    buffer = session.pending + data
    session.set_pending(b"")
    start = 0
    while start < len(buffer):
        key, end = next_key(buffer, start)
        if key is None:
            if len(buffer) - start <= session.service.block_characters_max:
                session.set_pending(buffer[start:])
                return b""
            end = start + len(PASTE_BEGIN)  # an unterminated paste: as if it were typed
            key = Key("")
        start = end
        _key(session, key)
        if session.leaving or session.is_busy or not session.wire.is_character:
            return buffer[start:]
    return b""


def _take_whole_line(session: ShellSession, data: bytes) -> bool:
    """Handle a whole line at once if it needs no editing; return whether it did.

    The hot path; the client sees the same as with single keys.
    """
    editor = session.editor
    assert editor is not None  # there is one in character mode
    if session.pending or not editor.takes_whole_line(len(data)):
        return False
    line = data[:-1].decode("ascii")
    session.out(f"{line}\n")
    _remember(session, line)
    session.push_line(line)
    return True


def _key(session: ShellSession, key: Text | Key | Paste) -> None:
    editor = session.editor
    assert editor is not None  # there is one in character mode
    if isinstance(key, Text):
        session.out(editor.insert(key.text))
        return
    if isinstance(key, Paste):
        _paste(session, editor, key.text)
        return
    screen, action = editor.press(key.name)
    session.out(screen)
    if action is Action.SUBMIT:
        session.out(editor.leave())
        _submit(session, editor)
    elif action is Action.INTERRUPT:
        session.out(editor.leave())
        session.interrupt()
    elif action is Action.LEAVE:
        session.out("\n")
        session.leave_block()
    elif action is Action.COMPLETE:
        _complete(session, editor)


def _submit(session: ShellSession, editor: LineEditor) -> None:
    if editor.overlong:
        session.refuse_line()
        return
    _remember(session, editor.text)
    session.push_line(editor.text)


def _remember(session: ShellSession, line: str) -> None:
    assert session.account is not None  # somebody typed it
    history = session.service.history_of(session.account)
    if line and not line.isspace() and (not history or history[-1] != line):
        history.append(line)


def _paste(session: ShellSession, editor: LineEditor, text: str) -> None:
    """Insert one pasted line; run the whole ones of several."""
    if editor.search is not None:
        session.out(editor.press("Escape")[0])
    if "\n" not in text:
        session.out(editor.insert(text))
        return
    text = editor.text[: editor.cursor] + text + editor.text[editor.cursor :]
    *lines, unfinished = text.split("\n")
    first, *others = lines
    session.out(editor.hide() + editor.prompt + show(first) + "\n")
    session.out("".join(f"... {show(line)}\n" for line in others))
    editor.begin(editor.prompt)
    for line in lines:
        _remember(session, line)
    session.push_paste(lines, unfinished)


def _complete(session: ShellSession, editor: LineEditor) -> None:
    from tapd.services.telnet import completion  # noqa: PLC0415 - only at a first Tab

    assert session.shell is not None  # only a prompt has an editor
    names = session.shell.namespace.names
    common, candidates = completion.complete(editor.text[: editor.cursor], names)
    if common:
        session.out(editor.insert(common))
    elif candidates:
        shown = completion.render_columns(candidates, editor.width)
        session.out(editor.leave() + shown + editor.show())
    else:
        session.out("\a")
