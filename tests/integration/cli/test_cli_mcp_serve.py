"""``agentctl mcp serve``: what a call can narrow, what it cannot loosen, and what its host reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentctl.cli.mcp.served_arguments import RunTaskArguments, served_tools
from agentctl.cli.mcp.served_runs import ServedRuns, ServeTerms, load, narrowed, open_scope
from agentctl.cli.mcp.served_stdio import make_server
from agentctl.cli.mcp.served_tools import ServedTools
from agentctl.core.messages import Completion, ToolCall
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.assemble import assemble
from tests.support.command_line import Here

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TERMS = ServeTerms({"llm_provider": "builtin", "sandbox": "none"}, Decimal("0.50"), Decimal("0.10"))


def served(
    calls: Sequence[tuple[str, dict[str, Any]]], answers: Sequence[Completion] = (), terms: ServeTerms = TERMS
) -> list[Any]:
    """Return the results of calls by the official client, in memory; ``answers`` are those of the model."""
    from mcp import Client

    async def drive() -> list[Any]:
        loaded = load(terms)
        make = partial(assemble, provider=ScriptedProvider(answers)) if answers else None
        async with open_scope(loaded, terms.max_cost) as scope:
            tools = ServedTools(terms, ServedRuns(terms, scope, print, make))
            async with Client(make_server(tools)) as client:
                meta: Any = {"traceparent": TRACEPARENT}
                return [await client.call_tool(name, given, meta=meta) for name, given in calls]

    return anyio.run(drive)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_of_a_host_gives_the_result_document() -> None:
    (result,) = served([("run_task", {"task": "How much memory is used?"})])
    document = result.structured_content
    assert (result.is_error, document["schema"], document["status"]) == (False, "agentctl.run/1", "done")
    assert document["limits"]["max_cost_per_task"]["limit"] == 0.1
    assert json.loads(result.content[0].text) == document


def test_a_run_is_part_of_the_trace_that_its_host_names() -> None:
    served([("run_task", {"task": "How much memory is used?"})])
    (journal,) = Path(load(TERMS).settings.runs_dir).glob("*.jsonl")
    assert f'"trace_parent":"{TRACEPARENT}"' in journal.read_text()


def test_an_answer_by_a_schema_of_the_call() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    call = ("run_task", {"task": "Count.", "schema": schema})
    (result,) = served([call], [Completion('{"n": 3}')])
    assert result.structured_content["structured"] == {"n": 3}


def test_a_change_is_denied_as_data_without_a_rule_of_the_user() -> None:
    change = ToolCall("1", "write_file", {"path": "a", "text": "x"})
    answers = [Completion(tool_calls=(change,), stop="tool_calls"), Completion("No.")]
    terms = TERMS._replace(flags={**TERMS.flags, "ask": ("write_file",)})
    call = {"task": "Write hello into the file a.", "agent": "system", "read_only": False}
    (result,) = served([("run_task", call)], answers, terms)
    document = result.structured_content
    assert (result.is_error, document["exit_code"], document["status"]) == (False, 5, "denied")
    assert not Path("a").exists()


@pytest.mark.parametrize("given", [{}, {"read_only": True}])
def test_without_read_only_false_a_rule_of_the_user_changes_nothing(given: dict[str, object]) -> None:
    change = ToolCall("1", "write_file", {"path": "a", "text": "x"})
    answers = [Completion(tool_calls=(change,), stop="tool_calls"), Completion("No.")]
    terms = TERMS._replace(flags={**TERMS.flags, "allow": ("write_file",)})
    served([("run_task", {"task": "Write hello into the file a.", "agent": "system", **given})], answers, terms)
    assert not Path("a").exists()
    served(
        [("run_task", {"task": "Write hello into the file a.", "agent": "system", "read_only": False})], answers, terms
    )
    assert Path("a").exists()


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("run_task", {}, "task: Field required"),
        ("run_task", {"task": " "}, "task: "),
        ("run_task", {"task": "x", "max_cost_usd": -1}, "max_cost_usd: "),
        ("run_task", {"task": "x", "max_cost_usd": 0.6}, "max_cost_usd is 0.6; all runs of this server together may"),
        ("run_task", {"task": "x", "timeout_s": 0}, "timeout_s: "),
        ("run_task", {"task": "x", "read_only": "false"}, "read_only: Input should be a valid boolean"),
        ("run_task", {"task": "x", "allow": ["run_shell"]}, "allow: Extra inputs are not permitted"),
        ("run_task", {"task": "x", "sandbox": "none"}, "sandbox: Extra inputs are not permitted"),
        ("run_task", {"task": "x", "schema": "/etc/passwd"}, "schema: Input should be a valid dictionary"),
        ("run_task", {"task": "x", "agent": "nobody"}, "nobody"),
        ("runs_show", {}, "no run of this server"),
        ("runs_show", {"run_id": "../x"}, "no run of this server"),
        ("cost", {}, 'did you mean "costs"?'),
    ],
)
def test_a_call_that_cannot_be_is_an_error_that_says_why(name: str, given: dict[str, Any], said: str) -> None:
    (result,) = served([(name, given)])
    assert result.is_error
    assert said in result.content[0].text
    assert not list(Path(load(TERMS).settings.runs_dir).glob("*"))


def test_a_flag_of_the_server_fixes_agent_and_model() -> None:
    terms = TERMS._replace(flags={**TERMS.flags, "agent": "system"})
    (result,) = served([("run_task", {"task": "x", "agent": "docker"})], terms=terms)
    assert "this server has one agent: system" in result.content[0].text


def test_a_server_below_a_run_that_cannot_count_it_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_CHILD", "of-a-run")
    (result,) = served([("run_task", {"task": "How much memory is used?"})])
    assert "its limits could not count it" in result.content[0].text


def test_only_runs_of_the_server_are_shown(here: Here) -> None:
    other = here("run", "--provider", "builtin", "How much memory is used?", "--json").document["run_id"]
    task = ("run_task", {"task": "How much disk is free?"})
    refused, _, shown, costs = served([("runs_show", {"run_id": other}), task, ("runs_show", {}), ("costs", {})])
    assert "no run of this server" in refused.content[0].text
    records = shown.structured_content["records"]
    assert (records[0]["run_id"], other) == (shown.structured_content["run_id"], other)
    assert records[0]["run_id"] != other
    assert costs.structured_content["total"]["usd"] == 0


@pytest.mark.parametrize(
    ("setting", "value", "call", "wanted"),
    [
        ("max_cost_per_task", None, {}, Decimal("0.70")),
        ("max_cost_per_task", "0.05", {}, Decimal("0.05")),
        ("max_cost_per_task", "9", {}, Decimal("0.70")),
        ("max_cost_per_task", "none", {}, Decimal("0.70")),
        ("read_only", True, {"read_only": False}, True),
        ("read_only", False, {}, True),
        ("read_only", False, {"read_only": False}, False),
        ("timeout", 30, {"timeout_s": 60}, 30),
        ("timeout", 30, {"timeout_s": 5}, 5),
        ("approve", "ask", {}, "deny"),
        ("approve", "defer", {}, "deny"),
        ("approve", "deny", {}, "deny"),
    ],
)
def test_a_call_narrows_the_settings_and_never_more(
    setting: str, value: object, call: dict[str, Any], wanted: object
) -> None:
    flags = dict(TERMS.flags) if value is None else {**TERMS.flags, setting: value}
    loaded = narrowed(load(TERMS._replace(flags=flags)), RunTaskArguments(task="x", **call), Decimal("0.70"))
    assert getattr(loaded.settings, setting) == wanted


def test_the_tools_are_described_as_their_arguments_are_read_and_briefly() -> None:
    for tool in served_tools(is_cost_required=True):
        read = {field.alias or name for name, field in tool.arguments.model_fields.items()}
        assert set(tool.parameters["properties"]) == read
    assert len(json.dumps([(*tool[:2], tool.parameters) for tool in served_tools(is_cost_required=True)])) < 1500


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-cost", "much"), '--max-cost "much" is not an amount in dollars'),
        (("--default-max-cost", "none"), '--default-max-cost "none" is not an amount'),
    ],
)
def test_a_wrong_flag_ends_it_with_2(here: Here, words: tuple[str, ...], said: str) -> None:
    ended = here("mcp", "serve", *words, "--print-config")
    assert (ended.code, ended.out, said in ended.err) == (2, "", True)


def test_the_printed_configuration_works_as_it_is(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    printed = here("mcp", "serve", "--provider", "builtin", "--max-cost", "2", "--print-config")
    assert printed.document["mcpServers"]["agentctl"]["agentctl"] == {"sandbox": "none"}
    ended = here("mcp", "test", "--mcp-config", printed.out, "--json")
    assert (ended.code, [(one["status"], one["tools"]) for one in ended.document["servers"]]) == (
        0,
        [("connected", 4)],
    ), ended.err


def test_the_printed_configuration_of_an_address_names_no_token(here: Here) -> None:
    printed = here("mcp", "serve", "--http", "8765", "--print-config").document["mcpServers"]["agentctl"]
    assert printed == {
        "type": "http",
        "url": "http://127.0.0.1:8765/mcp",
        "headers": {"Authorization": "Bearer ${AGENTCTL_MCP_SERVE_TOKEN}"},
    }
