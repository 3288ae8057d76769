"""Runs in this process and in others, and an endpoint for their spans."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.command_line import agentctl, config, here, state
from tests.support.json_run import json_run
from tests.support.otlp_endpoint import OtlpEndpoint, otlp_endpoint

__all__ = ["agentctl", "config", "here", "json_run", "state"]


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpEndpoint]:
    """An endpoint that the environment names, with a key in its headers."""
    with otlp_endpoint() as serving:
        for name, value in serving.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=key-for-the-collector")
        yield serving
