"""Change tracking: numbers durable objects, finds what changed in a turn, and replays it."""
