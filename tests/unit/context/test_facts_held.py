"""Logs of other agents: each format is read, and their next turns find in a cut context what they need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentctl.core.messages import Message
from tests.support.replay.keeping import facts_of, full_window, is_valid, newest_half, ours, score_all
from tests.support.replay.trajectories import Log, read_logs

SHIPPED = Path(__file__).parents[2] / "support" / "replay" / "logs"
CALL = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls src"}'}}
CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Fix it."},
    {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
    {"role": "tool", "content": "app.py", "tool_call_id": "c1"},
    {"role": "assistant", "content": "Done."},
]
ROLES = ["system", "user", "assistant", "tool", "assistant"]
EVENTS: list[dict[str, Any]] = [
    {"id": 0, "source": "agent", "action": "system", "args": {"content": "Be brief."}},
    {"id": 1, "source": "user", "action": "message", "args": {"content": "Fix it."}},
    {"id": 2, "source": "agent", "action": "run", "args": {"command": "ls src", "thought": "I look."}},
    {"id": 3, "source": "environment", "observation": "run", "cause": 2, "content": "app.py"},
    {"id": 4, "source": "agent", "action": "run", "args": {"command": "never answered"}},
    {"id": 5, "source": "agent", "action": "message", "args": {"content": "Done."}},
]
SWE = [
    {"role": one["role"], "content": one["content"], "agent": "main", "tool_call_ids": ["c1"], **extra}
    for one, extra in zip(CHAT, ({}, {}, {"tool_calls": [CALL]}, {}, {}), strict=True)
]
OWN = [
    {
        "event": "message_added",
        "message": {
            "role": one["role"],
            "text": one["content"],
            "tool_calls": [{"id": "c1", "name": "bash", "arguments": {"command": "ls src"}}] if at == 2 else [],
            "tool_call_id": one.get("tool_call_id"),
        },
    }
    for at, one in enumerate(CHAT)
]


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("a.traj", json.dumps({"trajectory": [], "history": SWE}), "SWE-agent"),
        ("b.traj.json", json.dumps({"info": {}, "messages": CHAT}), "mini-swe-agent"),
        ("c.json", json.dumps(CHAT), "mini-swe-agent"),
        ("d.json", json.dumps([{"task_id": 4, "reward": 1.0, "info": {}, "traj": CHAT}]), "tau-bench"),
        ("e.json", json.dumps(EVENTS), "OpenHands"),
        ("f.jsonl", json.dumps({"instance_id": "x", "history": EVENTS}), "OpenHands"),
        ("g.jsonl", "\n".join(map(json.dumps, OWN)), "agentctl"),
    ],
)
def test_a_log_of_each_format_becomes_the_same_conversation(tmp_path: Path, name: str, text: str, form: str) -> None:
    (tmp_path / name).write_text(text)
    (log,), unread = read_logs(tmp_path)
    assert unread == []
    assert log.format == form
    assert [message.role for message in log.messages] == ROLES
    assert [message.text for message in log.messages] == ["Be brief.", "Fix it.", "I look.", "app.py", "Done."]
    (call,) = log.messages[2].tool_calls
    assert dict(call.arguments) == {"command": "ls src"}
    assert log.messages[3].tool_call_id == call.id
    assert is_valid(log.messages)


def test_a_file_that_holds_no_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('[{"role": "user"')
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "text.txt").write_text("no log")
    logs, unread = read_logs(tmp_path)
    assert logs == []
    assert [sentence.partition(":")[0] for sentence in unread] == ["half.json", "other.json"]


def test_facts_are_identifiers_paths_and_numbers() -> None:
    assert facts_of("Open src/app.py: getUser of user_id 4711, at 10.2.0.1; then some words") == {
        "src/app.py", "getUser", "user_id", "4711", "10.2.0.1",
    }  # fmt: skip


@pytest.mark.parametrize(("limit", "least"), [(4_000, 90), (8_000, 96)])
def test_the_next_turn_finds_what_it_needs(limit: int, least: int) -> None:
    logs, unread = read_logs(SHIPPED)
    assert unread == []
    session = [message for log in logs for message in log.messages if message.role != "system"]
    logs.append(Log("one task after the other", "own run", (Message("system", "You help."), *session)))
    own, window, half = (score_all(logs, way, limit) for way in (ours, full_window, newest_half))
    assert own.facts > 100
    assert (own.invalid, own.over, own.lost, own.failed) == (0, 0, 0, 0)
    assert 100 * own.held >= least * own.facts
    assert own.held > half.held
    assert own.breaks < window.breaks
    assert own.cost_half < window.cost_half


def test_a_way_that_orphans_results_loses_the_task_or_is_too_long_is_found() -> None:
    log = next(one for one in read_logs(SHIPPED)[0] if one.format == "SWE-agent")
    bad = score_all([log], lambda limit: lambda sent, added: (*sent, *added)[-3:], 4_000)
    assert bad.invalid > 5
    assert bad.lost > 5
    assert score_all([log], lambda limit: lambda sent, added: (*sent, *added), 4_000).over > 3
