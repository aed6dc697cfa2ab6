"""Streams, listeners and the turn: the only place that touches client sockets."""
