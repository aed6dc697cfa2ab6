"""Class evolution: loads old state into current classes; what does not fit becomes a stand-in."""
