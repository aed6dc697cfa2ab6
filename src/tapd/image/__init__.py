"""Objects to bytes and back: pickling, class evolution and change tracking."""
