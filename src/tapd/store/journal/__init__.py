"""The journal: its file format, reading it back after a crash, and damage reports."""
