"""The fixture ``wire``: opens servers for a test and closes them after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.wire.server import WireServer

OpenWire = Callable[..., WireServer]


@pytest.fixture
def wire() -> Iterator[OpenWire]:
    """Give ``wire(script, rates=..., keys=...)``, which opens a ``WireServer`` until the end of the test."""
    with ExitStack() as opened:
        yield lambda *words, **more: opened.enter_context(WireServer(*words, **more))
