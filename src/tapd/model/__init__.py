"""Plain durable state: the contents of a TAP. No socket, no clock, no asyncio."""
