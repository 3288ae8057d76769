"""Trying providers out: what is found, what it costs, and who fails how."""
