"""Telling clients: answers and refusals, and the others what somebody did."""
