"""Unit files as values, and the drop-ins that `tapd-mktap` writes: pure rendering."""
