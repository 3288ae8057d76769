"""The providers against a real server that speaks their formats and keeps its own books."""
