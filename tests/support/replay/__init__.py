"""Long recorded conversations, replayed under other pruning strategies."""
