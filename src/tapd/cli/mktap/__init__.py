"""`tapd-mktap`: creates a server, or changes one that exists."""
