"""A daemon's lifecycle: takes the inherited sockets, loads, serves, drains, saves, exits."""
