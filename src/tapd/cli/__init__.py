"""The commands: tapd, tapd-mktap, tapctl."""
