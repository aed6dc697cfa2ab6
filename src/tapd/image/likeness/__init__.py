"""Compares two object graphs by value and identity, without running authors' code."""
