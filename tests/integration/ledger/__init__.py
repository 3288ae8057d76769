"""Summaries by the model of what is cut."""
