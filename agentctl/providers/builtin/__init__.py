"""The answer desk that needs no model: a declared table of read-only lookups, matched to the task's words."""
