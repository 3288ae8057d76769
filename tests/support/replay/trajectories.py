"""Read logs of agents as our messages: SWE-agent, mini-swe-agent, OpenHands, tau-bench, and runs of ours.

Only what a model was sent and said is read: roles, texts, calls and results. A log of tau-bench holds many
conversations; all others hold one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agentctl.core.messages import Message, Role, ToolCall

Json = Any
_ENDINGS = (".traj", ".json", ".jsonl")


class Log(NamedTuple):
    """One conversation: its name, its format, and its messages."""

    name: str
    format: str
    messages: tuple[Message, ...]


def read_logs(folder: Path) -> tuple[list[Log], list[str]]:
    """Return the conversations of all files of ``folder``, and a sentence for each file that holds none."""
    logs: list[Log] = []
    unread: list[str] = []
    for path in sorted(one for one in folder.rglob("*") if one.is_file() and one.name.endswith(_ENDINGS)):
        try:
            found = [log for log in _conversations(path) if sum(one.role == "assistant" for one in log.messages) > 1]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            unread.append(f"{path.name}: {type(error).__name__}: {error}")
            continue
        logs += found
        if not found:
            unread.append(f"{path.name}: no conversation of two turns or more")
    return logs, unread


def _conversations(path: Path) -> Iterator[Log]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        if any(line.get("event") == "message_added" for line in lines):
            yield Log(path.stem, "agentctl", _own(lines))
            return
        for number, line in enumerate(lines):
            yield from _one(f"{path.stem}-{number}", line)
        return
    data = json.loads(text)
    if isinstance(data, list) and data and "traj" in data[0]:
        for run in data:
            yield Log(f"{path.stem}-{run['task_id']}", "tau-bench", read_chat(run["traj"]))
        return
    yield from _one(path.name.partition(".")[0], data)


def _one(name: str, data: Json) -> Iterator[Log]:
    """Read one conversation of whatever format ``data`` has."""
    if isinstance(data, list):
        if any("source" in event for event in data):
            yield Log(name, "OpenHands", _events(data))
        else:
            yield Log(name, "mini-swe-agent", read_chat(data))
    elif "history" in data and any("source" in event for event in data["history"]):
        yield Log(name, "OpenHands", _events(data["history"], data.get("instruction") or ""))
    elif "history" in data:
        yield Log(name, "SWE-agent", read_chat(data["history"]))
    elif "trajectory" in data and "messages" not in data:
        yield Log(name, "SWE-agent", _steps(data["trajectory"]))
    elif "messages" in data:
        how = "own run" if data.get("class", "").startswith("own run") else "mini-swe-agent"
        yield Log(name, how, read_chat(data["messages"]))


def read_chat(said: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Read messages in OpenAI's format, and those near it."""
    messages: list[Message] = []
    for one in said:
        role: Role = "user" if one["role"] == "exit" else one["role"]
        answered = one.get("tool_call_id") or next(iter(one.get("tool_call_ids") or ()), None)
        calls = tuple(_call(call) for call in one.get("tool_calls") or ())
        text = _text(one.get("content"))
        if role == "assistant" and not calls and one.get("action") and one["action"] not in text:
            text = f"{text}\n```\n{one['action']}\n```"
        messages.append(Message(role, text, calls, answered if role == "tool" else None))
    return tuple(messages)


def _call(call: Mapping[str, Any]) -> ToolCall:
    function = call.get("function") or call
    arguments = function["arguments"]
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = {"": arguments}
    return ToolCall(
        call.get("id") or "", function["name"], arguments if isinstance(arguments, dict) else {"": arguments}
    )


def _text(content: Json) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text") or "" for part in content)
    return content or ""


def _steps(steps: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Read SWE-agent's steps where the history is missing."""
    messages = [Message("user", "Solve the issue of this repository.")]
    for step in steps:
        thought = step.get("response") or step.get("thought") or ""
        action = "" if step["action"] in thought else f"\n```\n{step['action']}```"
        messages += [Message("assistant", thought + action), Message("user", step["observation"] or "(no output)")]
    return tuple(messages)


def _events(events: Sequence[Mapping[str, Any]], task: str = "") -> tuple[Message, ...]:
    """Read OpenHands' actions and observations: an observation answers the action that caused it."""
    messages = [Message("user", task)] if task else []
    known: dict[Any, str] = {}
    for event in events:
        kind, arguments = event.get("action"), event.get("args") or {}
        if kind in ("message", "system"):
            role: Role = "system" if kind == "system" else "user" if event["source"] == "user" else "assistant"
            if text := arguments.get("content") or event.get("message"):
                messages.append(Message(role, text))
        elif kind and event.get("source") == "agent" and kind not in ("recall", "change_agent_state"):
            known[event["id"]] = name = f"call_{event['id']}"
            asked = {key: value for key, value in arguments.items() if isinstance(value, str) and key != "thought"}
            messages.append(Message("assistant", arguments.get("thought") or "", (ToolCall(name, kind, asked),)))
        elif event.get("observation") and (answered := known.pop(event.get("cause"), None)):
            messages.append(Message("tool", event.get("content") or "", (), answered))
    return tuple(
        one
        for one in messages
        if not (waiting := {call.id for call in one.tool_calls}) or not waiting & {*known.values()}
    )


def _own(lines: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Read the journal of a run of ours."""
    added = [line["message"] for line in lines if line.get("event") == "message_added"]
    return tuple(
        Message(
            one["role"],
            one["text"],
            tuple(ToolCall(call["id"], call["name"], call["arguments"]) for call in one["tool_calls"]),
            one["tool_call_id"],
        )
        for one in added
    )
