"""``agentctl cassette``: what is recorded in a cassette, and whether it can be replayed."""
