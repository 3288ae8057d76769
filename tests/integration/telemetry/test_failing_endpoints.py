"""An endpoint that fails in any way costs a run one line and two seconds, and nothing else."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from agentctl.core.trace_context import TraceContext
from agentctl.settings.telemetry import read_telemetry
from agentctl.telemetry.sender import Sender
from agentctl.telemetry.spans import FinishedSpan, Measurement
from tests.support.command_line import Commands, Here
from tests.support.otlp_endpoint import Manner, OtlpEndpoint, otlp_endpoint

KEY = "key-for-the-collector"
MEASURED = Measurement("gen_ai.client.operation.duration", 1.0, {})


@pytest.mark.parametrize(
    ("manner", "why"),
    [
        ("refuses", "HTTP 401 Unauthorized"),
        ("redirects", "it redirects"),
        ("hangs", "no answer within 2 s"),
    ],
)
def test_a_run_ends_as_without_telemetry_and_says_in_one_line_what_was_wrong(
    here: Here, endpoint: OtlpEndpoint, manner: Manner, why: str, state: Path
) -> None:
    endpoint.manner = manner
    done = here("run", "look around", script="answer")
    warnings = [line for line in done.err.splitlines() if line.startswith("warning:")]
    assert (done.code, done.out) == (0, "42 containers\nof which 7 run\n")
    assert len(warnings) == 1
    assert f"not all spans and metrics were sent to {endpoint.url}: {why}" in warnings[0]
    assert warnings[0].count(" --format otlp ") == 1
    assert "elsewhere" not in "".join(endpoint.paths)
    journals = "".join(path.read_text() for path in state.rglob("*.jsonl"))
    assert KEY not in done.err + journals


@pytest.mark.parametrize(
    ("manner", "why"), [("is busy", "Service Unavailable"), ("talks nonsense", "it gave no valid answer")]
)
def test_the_last_fault_is_named_when_the_time_is_over(endpoint: OtlpEndpoint, manner: Manner, why: str) -> None:
    endpoint.manner = manner
    sender = Sender(read_telemetry(endpoint.environ), {}, instance="r1")
    sender.put([MEASURED])
    assert sender.finish(0.5).startswith(why)


def test_a_variable_that_the_sdk_refuses_is_named(endpoint: OtlpEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", "many")
    sender = Sender(read_telemetry(endpoint.environ), {}, instance="r1")
    said = sender.finish(5)
    assert said == "OTEL_ATTRIBUTE_COUNT_LIMIT must be a non-negative integer but got many"


def test_a_full_batch_is_sent_while_the_run_goes_on_and_nothing_is_lost(endpoint: OtlpEndpoint) -> None:
    sender = Sender(read_telemetry(endpoint.environ), {"service.name": "x"}, instance="r1")
    ids = [f"{number:016x}" for number in range(1, 601)]
    for id in ids:
        sender.put([FinishedSpan("x", "internal", TraceContext("ab" * 16, id), None, 1, 2, {})])
    while not endpoint.traces:
        time.sleep(0.01)
    assert len(endpoint.traces[0].resource_spans[0].scope_spans[0].spans) == 512
    assert sender.finish(20) == ""
    assert [span.id for span in endpoint.spans] == ids


def test_nobody_at_the_address_is_not_waited_for(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    done = here("run", "look around", script="answer")
    assert (done.code, done.err.count("warning:"), "connection refused" in done.err) == (0, 1, True)


def test_ctrl_c_ends_a_run_whose_endpoint_hangs(agentctl: Commands, tmp_path: Path) -> None:
    with otlp_endpoint("hangs") as serving:
        process = agentctl.start("run", "look around", script="mid-call", env=serving.environ, stderr=subprocess.PIPE)
        while not (tmp_path / "reached").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err.count(b"not all spans")) == (130, 1)


def test_what_the_exporter_logs_is_not_on_the_screen(agentctl: Commands) -> None:
    with otlp_endpoint("refuses") as serving:
        done = agentctl("run", "look around", script="answer", **serving.environ)
    assert (done.code, done.err.count("401 Unauthorized"), "Failed to export" in done.err) == (0, 1, False)
