"""A daemon's life: parse, adopt, load, serve, drain, save, exit."""
