"""Servers that sleep: when one may, and the file that says until when."""
