"""Streams and datagrams: buffers, backpressure, and what the kernel still holds of them."""
