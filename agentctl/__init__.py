"""agentctl: one task, one agent, and a limit that holds. Importing it does nothing and loads nothing."""
