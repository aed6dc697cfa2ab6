"""Plain durable state: what a TAP holds. No socket, no clock, no asyncio."""
