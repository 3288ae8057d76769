"""Make text for a model of what a tool of a server returns."""

from __future__ import annotations

import json
from typing import assert_never

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from agentctl.core.text import safe_text

_LONGEST_WORD = 200  # of a name, a type or an address


def text_of(result: CallToolResult) -> str:
    """Return the text of a result: its texts, with a line for each part that is none; else its structure as JSON.

    An image, a sound or an embedded resource is a line with its type and size. A link is shown, and not followed.
    """
    has_text = any(isinstance(block, TextContent) and block.text.strip() for block in result.content)
    parts = [_text_of(block) for block in result.content]
    if not has_text and result.structured_content is not None:
        parts.insert(0, json.dumps(result.structured_content, ensure_ascii=False))
    return safe_text("\n".join(part for part in parts if part))


def _text_of(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return f"[image: {_word(block.mime_type)}, {_decoded(block.data)}: not shown]"
        case AudioContent():
            return f"[audio: {_word(block.mime_type)}, {_decoded(block.data)}: not shown]"
        case ResourceLink():
            kind = f", {_word(block.mime_type)}" if block.mime_type else ""
            return f"[link: {_word(block.name)}, {_word(str(block.uri))}{kind}: not followed]"
        case EmbeddedResource():
            return f"[resource: {_about(block.resource)}: not shown]"
    assert_never(block)


def _about(resource: TextResourceContents | BlobResourceContents) -> str:
    size = (
        _decoded(resource.blob) if isinstance(resource, BlobResourceContents) else _bytes(len(resource.text.encode()))
    )
    return ", ".join(filter(None, (_word(str(resource.uri)), _word(resource.mime_type or ""), size)))


def _decoded(data: str) -> str:
    """Return the size of what Base64 holds."""
    return _bytes(len(data) * 3 // 4 - data[-2:].count("="))


def _bytes(count: int) -> str:
    return f"{count:,} bytes"


def _word(text: str) -> str:
    line = " ".join(safe_text(text).split())
    return line if len(line) <= _LONGEST_WORD else f"{line[: _LONGEST_WORD - 1]}…"
