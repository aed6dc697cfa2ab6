"""The embedded manager: what `tapd` needs of systemd, where there is none."""
