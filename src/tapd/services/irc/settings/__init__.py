"""Settings of an IRC network, for `tapd-mktap irc` and `tapctl set`, and their listing."""
