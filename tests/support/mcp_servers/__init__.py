"""MCP servers for tests: one of our own that misbehaves as it is told, and those of other people."""
