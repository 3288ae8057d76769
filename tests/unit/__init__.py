"""Tests in one process: no root, no system packages, seconds a file. ``bash tests/run --fast`` runs them.

The folders are those of ``agentctl``. A test that starts a process belongs to ``tests/integration``.
"""
