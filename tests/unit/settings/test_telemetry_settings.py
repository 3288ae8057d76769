"""The standard variables of OpenTelemetry: what they ask for, what cannot be done, and what of them is secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agentctl.settings import load_settings
from agentctl.settings.key_exposure import secret_spans
from agentctl.settings.sandbox_access import variable_names
from agentctl.settings.telemetry import TelemetrySettings, TraceShare, header_secrets, read_telemetry

ALL = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
METRICS = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
HERE = "http://collector:4318"


@pytest.mark.parametrize(
    ("environ", "endpoints"),
    [
        ({}, {}),
        ({ALL: ""}, {}),
        ({"OTEL_SERVICE_NAME": "x"}, {}),
        ({ALL: HERE}, {"traces": HERE, "metrics": HERE}),
        ({TRACES: f"{HERE}/v1/traces"}, {"traces": HERE}),
        ({METRICS: "https://[::1]:9/x"}, {"metrics": "https://[::1]:9"}),
        ({ALL: HERE, TRACES: "http://other/v1/traces"}, {"traces": "http://other", "metrics": HERE}),
        ({ALL: HERE, "OTEL_SDK_DISABLED": "TRUE"}, {}),
        ({ALL: HERE, "OTEL_SDK_DISABLED": "no"}, {"traces": HERE, "metrics": HERE}),
        ({ALL: HERE, "OTEL_TRACES_EXPORTER": "none"}, {"metrics": HERE}),
        ({ALL: HERE, "OTEL_METRICS_EXPORTER": "none"}, {"traces": HERE}),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, {"traces": "http://localhost:4318"}),
        ({ALL: "http://user:password@collector:4318/x?key=y"}, {"traces": HERE, "metrics": HERE}),
    ],
)
def test_what_is_sent_follows_from_exporters_and_addresses(
    environ: Mapping[str, str], endpoints: Mapping[str, str]
) -> None:
    found = read_telemetry(environ)
    assert (found.endpoints, found.problems, found.sends) == (endpoints, (), bool(endpoints))


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({ALL: HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf and"),
        (
            {TRACES: HERE, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/js",
        ),
        ({ALL: "collector:4317"}, f"{ALL} is not a URL"),
        ({ALL: "http://collector:port"}, f"{ALL} is not a URL"),
        ({ALL: HERE, "OTEL_TRACES_EXPORTER": "zipkin", "OTEL_METRICS_EXPORTER": "none"}, "no exporter zipkin"),
    ],
)
def test_what_cannot_be_sent_is_said_once_with_what_to_set(environ: Mapping[str, str], word: str) -> None:
    found = read_telemetry(environ)
    assert not found.sends
    assert len(found.problems) == 1
    assert word in found.problems[0]


@pytest.mark.parametrize(
    ("value", "is_sent", "problems"),
    [("", False, 0), ("true", True, 0), ("SPAN_ONLY", True, 0), ("EVENT_ONLY", False, 0), ("yes", False, 1)],
)
def test_content_is_sent_only_by_the_standard_switch(value: str, *, is_sent: bool, problems: int) -> None:
    found = read_telemetry({ALL: HERE, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": value})
    assert (found.with_content, len(found.problems)) == (is_sent, problems)


@pytest.mark.parametrize(
    ("name", "share", "expected"),
    [
        ("always_off", "", TraceShare(0.0, follows_parent=False)),
        ("parentbased_traceidratio", "0.25", TraceShare(0.25, follows_parent=True)),
        ("traceidratio", "", TraceShare(1.0, follows_parent=False)),
        ("traceidratio", "2", TraceShare()),
        ("jaeger_remote", "", TraceShare()),
    ],
)
def test_the_sampler_is_a_share_of_traces(name: str, share: str, expected: TraceShare) -> None:
    found = read_telemetry({ALL: HERE, "OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": share})
    assert found.sampling == expected
    assert len(found.problems) == (name == "jaeger_remote" or share == "2")


def test_the_service_is_what_the_user_names() -> None:
    found = read_telemetry({"OTEL_RESOURCE_ATTRIBUTES": "team=web%2Cops, service.name=a,x", "OTEL_SERVICE_NAME": "b"})
    assert found.resource == {"team": "web,ops", "service.name": "b"}


def test_headers_and_passwords_of_exporters_are_secrets() -> None:
    found = header_secrets(
        {
            "OTEL_EXPORTER_OTLP_HEADERS": "x-team=key-of-the-team,Authorization=Bearer%20token-of-all",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "short=x",
            TRACES: "https://somebody:pass-word@host/v1/traces",
        }
    )
    assert {"key-of-the-team", "Bearer token-of-all", "token-of-all", "pass-word", "somebody"} <= {*found}
    assert "x" not in found


def test_only_the_environment_says_where_spans_go(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{ALL}={HERE}\nTRACEPARENT=00-{'a' * 32}-{'b' * 16}-01\n")
    (tmp_path / ".env").chmod(0o600)
    loaded = load_settings(flags={}, environ={"AGENTCTL_CONFIG_DIR": str(tmp_path)}, cwd=tmp_path)
    assert (loaded.telemetry, loaded.trace_parent) == (None, "")
    again = load_settings(flags={}, environ={ALL: HERE, "OTEL_EXPORTER_OTLP_HEADERS": "k=a-key-to-hide"}, cwd=tmp_path)
    assert isinstance(again.telemetry, TelemetrySettings)
    assert "a-key-to-hide" in again.secrets


def test_no_variable_of_opentelemetry_is_passed_to_commands() -> None:
    for name in ("OTEL_SERVICE_NAME", "TRACEPARENT"):
        with pytest.raises(ValueError, match=name):
            variable_names(name)


def test_headers_are_wiped_from_the_environment_that_others_can_read() -> None:
    block = b"A=1\0OTEL_EXPORTER_OTLP_TRACES_HEADERS=k=v\0B=2"
    assert [block[span.start : span.start + span.size] for span in secret_spans(block)] == [b"k=v"]
