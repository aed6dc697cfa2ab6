"""The service manager's side: inherited sockets, fd store, vault, notifications and logs."""
