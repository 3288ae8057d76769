"""A live run sends its spans and metrics: which, to whom, and what its children get of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from agentctl.core.messages import Completion, ToolCall, Usage
from agentctl.telemetry import span_observer
from tests.support.command_line import Ended, Here
from tests.support.json_run import JsonRun
from tests.support.mcp_servers.opened import HOSTILE
from tests.support.otlp_endpoint import OtlpEndpoint, Sent, read_otlp_json, spans_of_request

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEY = "sk-live-0123456789abcdefghijklmnopqrstuvwxyz"
USED = Usage(1000, 100)
MODEL = ("--provider", "ollama", "--model", "m")  # a script answers in its place


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run on a busy machine send all that it has."""
    monkeypatch.setattr(span_observer, "LAST_S", 60.0)


def asks(name: str, **arguments: object) -> Completion:
    return Completion("Looking.", (ToolCall("1", name, arguments),), USED, "tool_calls")


def named(endpoint: OtlpEndpoint, name: str) -> Sent:
    (found,) = (span for span in endpoint.spans if span.name == name)
    return found


def exported(here: Here, *words: str) -> list[Sent]:
    """Return the spans of the last run by its journal."""
    done = here("runs", "export", *words, "--format", "otlp")
    assert (done.code, done.err) == (0, "")
    return list(spans_of_request(read_otlp_json(done.out)))


def in_order(spans: list[Sent]) -> list[Sent]:
    return sorted(spans, key=lambda span: span.id)


def test_a_live_run_sends_the_spans_that_its_journal_has(
    here: Here, endpoint: OtlpEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    done = here("run", "look around", script="tools")
    assert (done.code, "warning" in done.err) == (0, False)
    assert [span.name for span in endpoint.spans] == [
        *("chat priced", "execute_tool system_memory", "chat priced", "execute_tool nosuch_tool", "chat priced"),
        "invoke_agent system",
    ]
    assert in_order(endpoint.spans) == in_order(exported(here))
    agent = endpoint.spans[-1]
    assert {span.parent for span in endpoint.spans[:-1]} == {agent.id}
    assert (agent.parent, agent.attributes["agentctl.cost.nano_usd"]) == ("", 39_000_000)
    assert (endpoint.resource["service.name"], endpoint.resource["telemetry.sdk.language"]) == ("nightly", "python")
    assert {headers["x-team"] for headers in endpoint.headers} == {"key-for-the-collector"}
    assert endpoint.paths == ["/v1/traces", "/v1/metrics"]
    assert not any(text in b"".join(endpoint.raw) for text in (b"look around", b"done looking", b"Looking with"))


def test_metrics_are_the_tokens_the_durations_and_the_cost(here: Here, endpoint: OtlpEndpoint) -> None:
    assert here("run", "-q", "look around", script="tools").code == 0
    points = {(point.metric, point.attributes.get("gen_ai.token.type")): point for point in endpoint.points}
    assert {key: (point.unit, round(point.sum, 9)) for key, point in points.items() if "duration" not in key[0]} == {
        ("gen_ai.client.token.usage", "input"): ("{token}", 3000),
        ("gen_ai.client.token.usage", "output"): ("{token}", 300),
        ("agentctl.cost", None): ("{USD}", 0.039),
    }
    duration = points["gen_ai.client.operation.duration", None]
    assert (duration.unit, duration.count, duration.bounds[:3]) == ("s", 3, (0.01, 0.02, 0.04))


def test_the_switch_sends_texts_without_the_secrets_in_them(
    json_run: JsonRun, endpoint: OtlpEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    monkeypatch.setenv("OTHER_API_KEY", KEY)
    (tmp_path / "notes.txt").write_text(f"the key is {KEY}, the team's key-for-the-collector\n")
    json_run.run([asks("read_file", path="notes.txt"), Completion(f"It is {KEY}.", usage=USED)], "--tools", "read_file")
    assert json_run.code == 0
    tool = named(endpoint, "execute_tool read_file")
    assert json.loads(tool.attributes["gen_ai.tool.call.arguments"])["path"].endswith("notes.txt")
    assert "the key is [redacted" in tool.attributes["gen_ai.tool.call.result"]
    first = next(span for span in endpoint.spans if span.name == "chat priced")
    assert "do it" in first.attributes["gen_ai.input.messages"]
    raw = b"".join(endpoint.raw)
    assert KEY.encode() not in raw
    assert b"key-for-the-collector" not in raw


def test_a_run_is_part_of_the_trace_that_its_environment_names(
    here: Here, endpoint: OtlpEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{SPAN}-01")
    monkeypatch.setenv("TRACESTATE", "vendor=x")
    assert here("run", "-q", "look around", script="answer").code == 0
    agent = endpoint.spans[-1]
    assert (agent.trace, agent.parent, agent.state, agent.flags) == (TRACE, SPAN, "vendor=x", 0x300)
    assert in_order(endpoint.spans) == in_order(exported(here))


def test_of_a_trace_that_is_not_recorded_only_metrics_are_sent(
    here: Here, endpoint: OtlpEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{SPAN}-00")
    assert here("run", "-q", "look around", script="answer").code == 0
    assert endpoint.paths == ["/v1/metrics"]


@pytest.mark.parametrize("tier", ["none", pytest.param("auto", marks=pytest.mark.needs("sandbox"))])
def test_a_command_gets_the_span_of_its_tool_and_no_variable_of_ours(
    json_run: JsonRun, endpoint: OtlpEndpoint, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    monkeypatch.setenv("TRACESTATE", "vendor=x")
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{SPAN}-01")
    shell = asks("run_shell", command="echo $TRACEPARENT $TRACESTATE; env | grep -c OTEL_")
    json_run.run([shell, Completion("ok", usage=USED)], "--tools", "run_shell", "--yes", "--sandbox", tier)
    assert json_run.code == 0
    tool = named(endpoint, "execute_tool run_shell")
    assert f"00-{TRACE}-{tool.id}-01 vendor=x\n0" in json_run.last_result


def test_a_command_of_a_run_that_sends_no_spans_gets_the_parent_that_the_run_got(
    json_run: JsonRun, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{SPAN}-01")
    shell = asks("run_shell", command="echo $TRACEPARENT")
    json_run.run([shell, Completion("ok", usage=USED)], "--tools", "run_shell", "--yes", "--sandbox", "none")
    assert f"00-{TRACE}-{SPAN}-01" in json_run.last_result
    assert exported(here)[-1].parent == SPAN


def test_a_hook_gets_no_variable_of_ours(
    json_run: JsonRun, endpoint: OtlpEndpoint, tmp_path: Path, config: Path
) -> None:
    config.mkdir(parents=True, exist_ok=True)
    command = f'["/bin/sh", "-c", "env > {tmp_path / "seen"}"]'
    (config / "config.toml").write_text(f'[[hook]]\non = "run_finished"\ncommand = {command}\n')
    json_run.run([Completion("ok", usage=USED)])
    seen = (tmp_path / "seen").read_text()
    assert json_run.code == 0, json_run.document["error"]
    assert "PATH=" in seen
    assert "OTEL_" not in seen


def test_a_server_gets_the_span_of_its_tool_in_meta(json_run: JsonRun, endpoint: OtlpEndpoint, tmp_path: Path) -> None:
    server = {"command": sys.executable, "args": ["-S", str(HOSTILE)], "agentctl": {"sandbox": "none"}}
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": {"h": server}}))
    words = ("--mcp-config", str(tmp_path / "servers.json"), "--tools", "h__where", "--yes")
    json_run.run([asks("h__where"), Completion("ok", usage=USED)], *MODEL, *words)
    assert json_run.code == 0, json_run.document["error"]
    tool = named(endpoint, "execute_tool h__where")
    assert f'"traceparent": "00-{tool.trace}-{tool.id}-01"' in json_run.last_result
    assert "OTEL_" not in json_run.last_result


def test_a_delegated_run_is_below_the_tool_that_started_it(
    json_run: JsonRun, here: Here, endpoint: OtlpEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGENTCTL_CONFIG_DIR", str(tmp_path / "config"))
    (tmp_path / "config/agents").mkdir(parents=True)
    for name, tools in (("lead", '["delegate"]'), ("worker", '["system_memory"]')):
        text = f'description = "The {name}"\ninstructions = "You are {name}."\ntools = {tools}\n'
        (tmp_path / f"config/agents/{name}.toml").write_text(text)
    script = [
        asks("delegate", agent="worker", task="Look."),
        asks("system_memory"),
        *[Completion("ok", usage=USED)] * 2,
    ]
    json_run.run(script, "--agent", "lead")
    assert (json_run.code, len(json_run.document["delegated"])) == (0, 1)
    lead, delegate, worker = (
        named(endpoint, name) for name in ("invoke_agent lead", "execute_tool delegate", "invoke_agent worker")
    )
    assert (delegate.parent, worker.parent, worker.trace) == (lead.id, delegate.id, lead.trace)
    assert named(endpoint, "execute_tool system_memory").parent == worker.id
    assert in_order(endpoint.spans) == in_order(exported(here, json_run.document["run_id"]))
    assert lead.start <= delegate.start <= worker.start <= worker.end <= delegate.end <= lead.end


def test_a_resumed_run_links_to_its_last_part_in_the_same_trace(here: Here, endpoint: OtlpEndpoint) -> None:
    assert here("run", "-q", "look around", *MODEL, "--max-turns", "1", script="tools").code == 1
    first = endpoint.spans[-1]
    run_id = first.attributes["agentctl.run.id"]
    assert here("run", "--resume", run_id, *MODEL, "-q", "--max-turns", "9", script="answer").code == 0
    second = endpoint.spans[-1]
    assert (first.trace, second.parent, second.links) == (second.trace, "", ((first.trace, first.id),))
    assert in_order(endpoint.spans) == in_order(exported(here))


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        ({"OTEL_SDK_DISABLED": "true"}, ""),
    ],
)
def test_what_is_not_sent_is_said_in_one_line(
    here: Here, endpoint: OtlpEndpoint, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = here("run", "look around", script="answer")
    warnings = [line for line in done.err.splitlines() if line.startswith("warning:")]
    assert (done.code, len(warnings), words in "".join(warnings), endpoint.paths) == (0, bool(words), True, [])


@pytest.mark.parametrize(
    ("given", "state", "said"),
    [
        ({}, "ok", "traces to URL, metrics to URL; texts of a run are not sent"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "warning", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported"),
    ],
)
def test_doctor_says_where_spans_go(
    here: Here,
    endpoint: OtlpEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    state: str,
    said: str,
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    checks = here("doctor", "--offline", "--json").document["checks"]
    (found,) = (check for check in checks if check["about"] == "telemetry")
    assert (found["state"], found["stops_run"]) == (state, False)
    assert said.replace("URL", endpoint.url) in found["said"]
    assert endpoint.paths == []


def test_without_the_extra_one_line_says_how_to_install_it(
    here: Here, endpoint: OtlpEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    done: Ended = here("run", "look around", script="answer")
    assert (done.code, endpoint.paths) == (0, [])
    assert done.err.count("pip install 'agentctl-cli[otel]'") == done.err.count("warning:") == 1
