"""Long conversations of our own, replayed under other ways to make them fit."""
