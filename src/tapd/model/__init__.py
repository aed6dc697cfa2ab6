"""Durable state: the contents of a TAP. Independent of sockets, clocks and asyncio."""
