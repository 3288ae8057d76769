"""Tests of the bill: the whole program against a server that keeps its own record of what it billed."""
