"""What IRC clients do: sessions, registration, login, membership, presence and rate limits."""
