"""The turn: collects input, runs handlers, commits, and only then sends output."""
