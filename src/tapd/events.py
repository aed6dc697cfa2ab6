"""Event types in the systemd journal, each with the MESSAGE_ID to search for.

Those that only one server type has are in its folder (`services.irc.events`). An
event is passed as the `extra` of a log call, with the fields that belong to it;
`systemd.logs` sends both to the journal, and packaging/catalog/tapd.catalog explains
each (``journalctl -x``). A test checks that every event is logged somewhere and
explained there, and nothing else is.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Event(NamedTuple):
    """One kind of event.

    Attributes:
        message_id: 128 random bits in hexadecimal, never given to anything else
            (systemd.journal-fields(7)).
    """

    message_id: str

    def __call__(self, **fields: Any) -> dict[str, Any]:
        """Return the `extra` of a log call: the id, and TAPD_* fields."""
        return {"MESSAGE_ID": self.message_id, **fields}


# --- the server's life -----------------------------------------------------------

STARTED = Event("90a9c8c93d6c453f966a6a81ff347d27")
"""The server runs for the first time, from the TAP that tapd-mktap made."""

RESUMED = Event("d24566bc055f4b339c822fd9c1342d43")
"""The server goes on from a TAP and its journals."""

WOKEN = Event("a50d6216b8da46ef829b4e2f25970c05")
"""The server had gone to sleep and was started by a client or a timer."""

KILLED_BEFORE = Event("ab1d88c63d8947939483d81264e92af8")
"""The process before did not stop: it was killed, or crashed."""

CRASH_LOOP = Event("858a88c1f2e14a169e9fcebe09f3bd12")
"""Killed again and again by its start, or by what it runs there; starts are slowed down."""

RELOADED = Event("a50790658c364a42a75f55ce85259dcc")
"""New code goes on in the running server."""

CODE_REFUSED = Event("b506f676ecb7ab025ed54450d20aae3e")
"""A reload found new code that does not load the state; the old code serves on."""

STOPPING = Event("fbf8d53b79c44557b6b63d0e895200f7")
"""The server was told to stop or restart."""

ASLEEP = Event("86aa80210e7649d88b9c578588ad7d0a")
"""Nothing to do: the server saved itself and ended until it is needed."""

REFUSED = Event("16f9ad77d07e4ea2b427255e8a1822c6")
"""The server can't start, and no restart mends it."""

START_FAILED = Event("6d91af36116e4883bf50cbf1fa80f4ed")
"""A service of the application refused to start; it is tried again."""

TURN_FAILED = Event("5ced3b71ab1d4ec582b2ad4235be502f")
"""A bug of tapd ended the process."""

# --- its state -------------------------------------------------------------------

SAVED = Event("84677a9227274be0853023f5918c854c")
"""A generation is safe on the disk."""

SAVE_FAILED = Event("e39ee9cd085f43ea935a12995131bbb6")
"""A generation could not be saved."""

LOSS = Event("661c1b6aba824e61a849bf706e580b13")
"""One object can't be saved; a placeholder is."""

UNFIT = Event("846d9b1d633237a4f13f2715cb401b98")
"""One object can't be brought into its class of today; it is kept as it was saved."""

DIFFERENCE = Event("59340ccca1914b689b231014f25af4e0")
"""An audit found something that a kill would have restored as something else."""

FELL_BACK = Event("5dfcf88bcd2f49569473865193bcec8c")
"""The newest generation is damaged; an older one was loaded."""

SET_ASIDE = Event("54a42b5cd66a4a24ac6673b21f0695a4")
"""A damaged journal was set aside."""

TORN = Event("6697c33c59a1490dab779ad5e4ddb27e")
"""A journal's last record was torn, as by a power cut; it was cut."""

RECORDS_GONE = Event("000905e63be7497d9ae8c65929c56a2e")
"""Records at a journal's end, or a whole journal, are gone."""

STALLED = Event("066ed3fd7e2844bc9d9763495c902e2c")
"""The journal can't be written; nothing is answered."""

UNSTALLED = Event("f336860142df4686893a0fee82b15dfd")
"""It can be written again."""

# --- its people ------------------------------------------------------------------

LOGIN = Event("cfa88a22937f4add896596ac4d15a4e6")
"""Somebody logged in."""

LOGIN_REFUSED = Event("dddd7745eea24fb79d7c1c713931e3f7")
"""A name or password was wrong."""

SHELL_OPENED = Event("1c4f0cb2b1324e9291873059456c9f87")
"""A `tapctl shell` was opened."""

NOT_ALLOWED = Event("aefb316b174c4ad69b096759d452545e")
"""Somebody who may not asked at the control socket."""

FAILED = Event("9f0d01fa4d4246be9ec714b9d0af149b")
"""A protocol raised an exception; its connection was closed."""

SKIPPED = Event("2b7958d61c4349aeb056776b3b0f69a6")
"""What killed the server was left out."""
