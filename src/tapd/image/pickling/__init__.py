"""Pickling: a whole graph for a TAP, single states for the journal, and the way back."""
