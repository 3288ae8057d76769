"""A user who is not root."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """Stop being root, who may read everything; give a folder that is nobody's own."""
    with tempfile.TemporaryDirectory() as folder:
        me = os.geteuid()
        if me == 0:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(me)
