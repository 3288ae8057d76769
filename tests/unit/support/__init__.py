"""What a cut costs and saves, and what a provider keeps of a conversation."""
