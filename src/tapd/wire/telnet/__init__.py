"""Telnet, sans-IO: codec, option negotiation, and the layer that joins them."""
