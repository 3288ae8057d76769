"""Tests that start processes: the command line, the sandbox, a container engine, several writers of one ledger.

The folders are those of ``agentctl``. What is missing on the machine is listed at the start; the tests that need it are
skipped.
"""
