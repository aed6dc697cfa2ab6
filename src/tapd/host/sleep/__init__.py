"""Scale to zero: when an idle server may exit, and the file with its wake-up time."""
