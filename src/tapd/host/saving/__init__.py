"""Saving while a server runs: when, by which process, and audits of what was saved."""
