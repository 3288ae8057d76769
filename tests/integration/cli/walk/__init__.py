"""Walks of first-time users, from the first command to the record of the run."""
