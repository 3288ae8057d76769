"""Texts of every kind, and the counting that providers publish, independent of agentctl's."""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agentctl.core.messages import Message, ToolCall, ToolSpec

Encode = Callable[[str], int]
_ROOT = Path(__file__).parents[2]


def _texts() -> dict[str, str]:
    dice = random.Random(11)

    def log() -> str:
        at = f"2026-11-24T10:{dice.randrange(60):02}:{dice.randrange(60):02}.{dice.randrange(1000):03}Z"
        return f"{at} web[{dice.randrange(9999)}] INFO request {dice.randrange(99999)} took {dice.randrange(999)} ms\n"

    rows = [{"id": n, "name": f"web-{n}", "state": "running", "ports": [80, 443]} for n in range(100)]
    return {
        "prose": (_ROOT / "docs" / "budget.md").read_text()[:12_000],
        "code": (_ROOT / "agentctl" / "runner" / "model_calls.py").read_text(),
        "JSON": json.dumps(rows, indent=1),
        "hex": dice.randbytes(3000).hex(),
        "base64": base64.b64encode(dice.randbytes(3000)).decode(),
        "ids": "\n".join(str(uuid.UUID(int=dice.getrandbits(128))) for _ in range(150)),
        "logs": "".join(log() for _ in range(100)),
        "digits": "".join(str(dice.randrange(10)) for _ in range(5000)),
        "numbers": "\n".join(",".join(f"{dice.random():.4f}" for _ in range(10)) for _ in range(80)),
        "Chinese": "容器已经停止运行。因为内存不足。请检查日志文件并重新启动服务。" * 60,
        "Arabic": "توقفت الحاوية بسبب نقص الذاكرة. يرجى التحقق من السجلات. " * 60,
        "Russian": "Контейнер остановлен из-за нехватки памяти. Проверьте журналы. " * 60,
        "Hindi": "मेमोरी की कमी के कारण कंटेनर रुक गया। कृपया लॉग जांचें। " * 60,
        "emoji": "".join(dice.choices("😀🎉🚀🐳🔥✅❌💾🧪", k=1500)),
        "surrogates": "".join(chr(dice.randrange(0xD800, 0xE000)) for _ in range(1500)),
        "a table drawn": "┌──────┬──────┐\n│ name │ size │\n├──────┼──────┤\n└──────┴──────┘\n" * 40,
    }


TEXTS: Mapping[str, str] = _texts()
TOOLS = (
    ToolSpec(
        "docker_logs",
        "Show the last lines of a container's log.",
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "The container's name or id."},
                "tail": {"type": "integer", "description": "How many lines from the end."},
                "since": {"type": "string", "description": "Only what is newer, as 10m or 2h."},
            },
            "required": ["name"],
        },
    ),
    ToolSpec(
        "system_disks",
        "Tell how full the disks are.",
        {"type": "object", "properties": {"unit": {"type": "string", "enum": ["B", "MB", "GB"], "description": "."}}},
    ),
)


def openai_count(messages: Sequence[Message], tools: Sequence[ToolSpec], encode: Encode) -> int:
    """Count a request as OpenAI publishes it (its cookbook: chat messages, and functions for gpt-4o).

    Of tool calls it says nothing: users measured about 12 tokens beside name and arguments, and 24 for the first.
    """
    tokens = 3
    for message in messages:
        tokens += 3 + encode(message.role) + encode(message.text)
        for call in message.tool_calls:
            tokens += 12 + encode(call.name) + encode(json.dumps(dict(call.arguments)))
    tokens += 24 if any(message.tool_calls for message in messages) else 0
    for tool in tools:
        tokens += 7 + encode(f"{tool.name}:{tool.description.removesuffix('.')}")
        properties: Mapping[str, Mapping[str, object]] = tool.parameters.get("properties", {})  # type: ignore[assignment]
        tokens += 3 if properties else 0
        for name, given in properties.items():
            options: list[str] = given.get("enum", [])  # type: ignore[assignment]
            tokens += 3 + sum(3 + encode(option) for option in options) - (3 if options else 0)
            tokens += encode(f"{name}:{given['type']}:{str(given.get('description', '')).removesuffix('.')}")
    return tokens + (12 if tools else 0)


def turns(texts: Sequence[str]) -> tuple[Message, ...]:
    """Return a conversation in which each text was the answer of a tool."""
    said = [Message("system", "You look after containers."), Message("user", "Why is web slow?")]
    for number, text in enumerate(texts):
        call = ToolCall(f"call_{number:024x}", "docker_logs", {"name": "web", "tail": number})
        said += [Message("assistant", "I look.", (call,)), Message("tool", text, tool_call_id=call.id)]
    return tuple(said)
