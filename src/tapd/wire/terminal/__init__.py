"""Character terminals, sans-IO: keys, text width, and the line editor."""
