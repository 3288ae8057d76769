"""Tests that start processes: the command line, the sandbox, a container engine, several writers of one ledger.

The folders are those of ``agentctl``. What the machine lacks is listed at the start, and its tests are skipped.
"""
