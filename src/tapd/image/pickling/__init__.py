"""Pickles whole graphs for a TAP and single states for the journal, and loads both."""
