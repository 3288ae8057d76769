"""The differences between the clients that are meant, each with the document that says which of them is right."""

from __future__ import annotations

from tests.support.parity.comparing import Meant

_OLLAMA = "https://github.com/ollama/ollama/blob/main/docs/api.md"
_MESSAGES = "https://docs.anthropic.com/en/api/messages"
_THINKING = "https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking"
_STREAM = "https://docs.anthropic.com/en/docs/build-with-claude/streaming"
_CHUNK = "https://platform.openai.com/docs/api-reference/chat-streaming"
_NO_WORDS = "a message with content is asked for, whatever its words are; ours are shorter"

MEANT: tuple[Meant, ...] = (
    Meant(
        "ollama: *",
        "wire.0.body.messages.*.images",
        "lean",
        "images are optional, for multimodal models; a message without any leaves them out",
        _OLLAMA,
    ),
    Meant(
        "ollama: *",
        "wire.0.headers.content-type",
        "lean",
        "a request with a body says what it is",
        "https://www.rfc-editor.org/rfc/rfc9110#section-8.3",
    ),
    Meant(
        "ollama: *",
        "wire.0.body.messages.*.tool_name",
        "lean",
        "a tool's message names the tool that was executed; there is no tool_call_id",
        _OLLAMA,
    ),
    Meant(
        "ollama: *",
        "answer.tool_calls.*.0",
        "lean",
        "an id that the server gave is kept; litellm makes up another one for some calls",
        _OLLAMA,
    ),
    *(
        Meant(
            "ollama: error no_tools", path, "lean", "structured outputs need no tools: asked again by format", _OLLAMA
        )
        for path in ("charge.0.1", "error.*", "raised.*")
    ),
    Meant("anthropic: *", "wire.0.body.tools.*.type", "lean", "type is optional, and custom if left out", _MESSAGES),
    Meant(
        "anthropic: calls in a conversation whose request has no tools",
        "wire.0.body.tools.0.*",
        "lean",
        "tools must be there if a conversation has calls; the name and description of the one that stands in are free",
        _MESSAGES,
    ),
    Meant(
        "anthropic: an assistant without a word", "wire.0.body.messages.1.content.0.text", "lean", _NO_WORDS, _MESSAGES
    ),
    Meant("anthropic: an empty question", "wire.0.body.messages.0.content.0.text", "lean", _NO_WORDS, _MESSAGES),
    Meant(
        "anthropic: thoughts*",
        "answer.thoughts",
        "lean",
        "thinking blocks are given back unchanged with their signature while tools are used",
        _THINKING,
    ),
    Meant("openai: a refusal by the model", "**", "lean", "the refusal is what the assistant said", _CHUNK),
    Meant(
        "anthropic: a second system message later",
        "wire.0.body.messages.*.content",
        "lean",
        "the system is apart, and one in between is a text of the user's; litellm explains in words where it came from",
        _MESSAGES,
    ),
    Meant(
        "*: an answer that is no JSON",
        "**",
        "lean",
        "each event is JSON, and the official clients fail on another one; litellm loses its text in silence",
        _STREAM,
    ),
)
