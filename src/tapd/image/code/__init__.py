"""Saves functions and classes typed at a prompt: as source text and by their parts."""
