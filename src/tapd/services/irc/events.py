"""The kinds of events that only an IRC network has, with their MESSAGE_IDs."""

from __future__ import annotations

from tapd.events import Event

OPERATOR_ACTED = Event("cbb5227b7819632989f4e45fb95990dc")
"""An operator of an IRC network used a privilege."""

BAN_APPLIED = Event("9c7222ef3fd8a28df6b19fe3a860c1be")
"""A ban of an IRC network kept a client away."""

FLOOD_CLOSED = Event("73e1673c484f714cff4d853fd9fc6fbb")
"""An IRC client sent far more than it may, and was disconnected."""
