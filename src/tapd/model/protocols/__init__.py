"""Ready-made framing, sans-IO and durable: lines, frames and requests."""
