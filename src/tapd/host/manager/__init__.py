"""The embedded service manager: replaces systemd for a server started by hand."""
