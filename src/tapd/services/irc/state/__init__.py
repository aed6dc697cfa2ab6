"""The durable state of an IRC network: users, channels, accounts, bans, history."""
