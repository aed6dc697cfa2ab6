"""Decides, by type, how each object is pickled, and defines the functions that pickles call."""
