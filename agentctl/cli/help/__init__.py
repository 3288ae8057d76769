"""The longer texts of ``agentctl help``, one file a topic."""
