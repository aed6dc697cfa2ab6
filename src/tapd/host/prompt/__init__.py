"""The Python prompt: reads lines, runs them, and routes their output and Ctrl-C."""
