"""The IRC wire format, sans-IO: messages, numerics, names, masks, modes, capabilities."""
