"""Whether the bill is kept: the whole program against a server that keeps books of its own."""
