"""`tapd`: runs a server from its TAP, under systemd or by hand."""
