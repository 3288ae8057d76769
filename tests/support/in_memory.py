"""A folder in memory for tests of the ledger, whose commits need no real disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ledger.process import IN_MEMORY


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Stand in for pytest's fixture, in the folders of tests whose conftest imports it."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
