"""Rules, decisions, and the door in front of every tool."""
