"""Access control: accounts, sealed credentials, and groups of peers for rate limits."""
