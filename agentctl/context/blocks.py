"""Read the content of one message: texts, calls, thoughts, and what is no text (images, files, recordings).

Everything that is sent is counted: what is neither text nor a call counts as JSON, whatever it is. Only the bytes or
the address of an image, a file or a recording do not; each of these counts as ``Measure.image`` tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, NoReturn

from agentctl.context.tokens import json_text
from agentctl.core.errors import UsageError
from agentctl.core.messages import ToolCall

TEXTS = ("text", "input_text", "output_text")
_MEDIA = frozenset(
    re.findall(
        r"\w+",
        "image image_url image_file input_image audio input_audio file input_file document document_url video "
        "video_url input_video media computer_screenshot container_upload image_generation_call",
    )
)
_PAYLOADS = frozenset(  # of media: where their bytes or their address stand
    re.findall(
        r"\w+",
        "data url image image_url document_url video_url file_url file_data file_id bytes base64 uri file_uri "
        "input_audio result source",
    )
)
_PLACED = {"tool_use": "assistant", "tool_result": "user"}  # a block is a part of its own in this role only
_ALONE = frozenset(("name", "thinking", "reasoning", "reasoning_content", "refusal", "data"))  # texts, without the key
_NO_VALUE = frozenset(  # known, so that nothing is sent for them if they are empty
    re.findall(
        r"\w+",
        "annotations audio cache_control citations function_call images logprobs name parsed prefix reasoning "
        "reasoning_content refusal signature thinking tool_call_id tool_calls tool_name",
    )
)
_LOOKED_AT = 200  # characters
_DEEPEST = 8


class Content(NamedTuple):
    """What a message holds: its ``text``, which may be cut, and ``more`` text, which is never cut.

    ``media`` is the number of images, files and recordings.
    """

    text: str = ""
    more: str = ""
    media: int = 0


def read_content(where: str, content: object, *, role: str, may_be_empty: bool = False) -> Content:
    """Read the content of a message, or of a tool's result (``role`` "tool"): a string, or a list of blocks.

    Raises:
        UsageError: it is neither, or a block cannot be in a message of this role.
    """
    if isinstance(content, str):
        return Content(content)
    if may_be_empty and (content is None or content == []):
        return Content()
    if not isinstance(content, (list, tuple)):
        refuse(f"{where}.content", f"must be a string or a list of text blocks, not {type_name(content)}")
    if not content:
        refuse(f"{where}.content", "is an empty list", 'use "" for no text')
    said: list[str] = []
    more: list[str] = []
    media = 0
    for number, block in enumerate(content):
        at = f"{where}.content[{number}]"
        if not isinstance(block, Mapping):
            hint = "append .model_dump() to it" if hasattr(block, "model_dump") else ""
            refuse(at, f"must be a block such as {{'type': 'text', 'text': …}}, not {type_name(block)}", hint)
        kind = block.get("type")
        if not isinstance(kind, str) or _PLACED.get(kind, role) != role:
            beside = [name for name, place in _PLACED.items() if place == role]
            known = ", ".join(("text", *beside))
            refuse(at, f"is a block of type {kind!r}, which is not supported there", f"allowed there: {known}")
        if kind in TEXTS:
            text = block.get("text")
            if not isinstance(text, str):
                refuse(f"{at}.text", f"must be a string, not {type_name(text)}")
            said.append(text)
            more.append(beside_known(at, block, ("type", "text")))
        elif kind not in _PLACED:
            left, found = _without_media(block)
            media += max(found, kind in _MEDIA and kind != "document")  # a document may be text
            more.append(beside_known(at, left, ("type",)))
    return Content("".join(said), "".join(more), media)


def read_images(given: Mapping[object, object]) -> int:
    """Return the number of images and recordings that a message holds beside its content."""
    images = given.get("images")
    return (len(images) if isinstance(images, (list, tuple)) else bool(images)) + bool(given.get("audio"))


def beside_known(where: str, given: Mapping[object, object], known: Collection[str]) -> str:
    """Return everything but the ``known`` keys of a message or a block as text: what is not known counts as JSON.

    Raises:
        UsageError: a value cannot be written as JSON; the error names its place.
    """
    found: list[str] = []
    for key, value in given.items():
        if key in known or (key in _NO_VALUE and (value is None or value in ("", [], {}))):
            continue
        if isinstance(value, str) and key in _ALONE:
            found.append(value)
        elif key == "images" and isinstance(value, (list, tuple)):
            found += [_written(f"{where}.images", one) for one in value if not _is_payload(one)]
        elif key == "audio":
            found.append(_written(f"{where}.audio", _strip(value, deepest=_DEEPEST, is_media=True)[0]))
        else:
            found.append(_written(f"{where}.{key}", {key: value}))
    return "".join(found)


def read_calls(where: str, calls: object) -> Iterator[tuple[ToolCall, str]]:
    """Yield the calls of OpenAI, Mistral and Ollama, each with what is sent beside it.

    Those of Ollama have no ids, and their arguments are parsed already.
    """
    if calls is None:
        return
    if not isinstance(calls, (list, tuple)):
        refuse(f"{where}.tool_calls", f"must be a list, not {type_name(calls)}")
    for number, call in enumerate(calls):
        at = f"{where}.tool_calls[{number}]"
        if isinstance(call, ToolCall):
            require_json(f"{at}.arguments", call.arguments)
            yield call, ""
            continue
        asked = call.get("function") or call.get("custom") if isinstance(call, Mapping) else None
        if not isinstance(call, Mapping) or not isinstance(asked, Mapping):
            refuse(at, 'must be a dict with a "function"')
        read = read_call(at, call.get("id"), asked.get("name"), asked.get("arguments", asked.get("input")))
        more = beside_known(at, call, ("id", "type", "function", "custom"))
        yield read, more + beside_known(at, asked, ("name", "arguments", "input"))


def read_uses(where: str, content: object) -> Iterator[tuple[ToolCall, str]]:
    """Yield the calls of Anthropic, which are blocks of the content, each with what is sent beside it."""
    for number, block in enumerate(content if isinstance(content, (list, tuple)) else ()):
        if isinstance(block, Mapping) and block.get("type") == "tool_use":
            at = f"{where}.content[{number}]"
            call = read_call(at, block.get("id"), block.get("name"), block.get("input"))
            yield call, beside_known(at, block, ("type", "id", "name", "input"))


def read_call(at: str, call_id: object, name: object, arguments: object) -> ToolCall:
    """Return a call; arguments that are no JSON object count as the text that they are.

    Raises:
        UsageError: the name, the id or the arguments have a wrong type.
    """
    if not isinstance(name, str):
        refuse(f"{at}.name", f"must be a string, not {type_name(name)}")
    if call_id is not None and not isinstance(call_id, str):
        refuse(f"{at}.id", f"must be a string, not {type_name(call_id)}")
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            parsed = None  # models write invalid JSON: it is sent, so it counts
        arguments = parsed if isinstance(parsed, dict) else {"": arguments}
    if not isinstance(arguments, Mapping):
        if arguments is not None:
            refuse(f"{at}.arguments", f"must be JSON text or a dict, not {type_name(arguments)}")
        arguments = {}
    require_json(at, arguments)
    return ToolCall(call_id or "", name, arguments)


def rewrite_blocks(content: list[object] | tuple[object, ...], text: str | None, answers: Mapping[int, str]) -> object:
    """Return a list of blocks with ``text`` in place of their texts, None for no text and nothing beside it.

    ``answers`` are the remaining tool results, by place, each with its present text; others are left out.
    """
    kept: list[object] = []
    rest, kinds = text or "", [block["type"] for block in content if isinstance(block, Mapping)]
    written = "input_text" if any(kind.startswith("input_") for kind in kinds) else "text"
    written = next((kind for kind in kinds if kind in TEXTS), written)
    for place, block in enumerate(content):
        assert isinstance(block, Mapping)  # noqa: S101 - it was read before
        if (kind := block["type"]) == "tool_result":
            if place in answers:
                kept.append(_rewrite_answer(block, answers[place]))
        elif kind not in TEXTS:
            kept += [block] if text is not None else []
        elif rest.startswith(block["text"]):
            kept += [block] if text is not None else []
            rest = rest[len(block["text"]) :]
        elif rest:
            kept.append({**block, "text": rest})
            rest = ""
    return [*kept, {"type": written, "text": rest}] if rest else kept


def _rewrite_answer(block: Mapping[str, object], text: str) -> object:
    """Return a tool's result with its present text; the same object if the text has not changed."""
    inner = block.get("content")
    if not isinstance(inner, (list, tuple)):
        return block if (inner or "") == text else {**block, "content": text}
    if "".join(one["text"] for one in inner if one["type"] in TEXTS) == text:
        return block
    return {**block, "content": rewrite_blocks(inner, text, {})}


def _without_media(block: Mapping[object, object]) -> tuple[Mapping[object, object], int]:
    """Return a block without the bytes and addresses of the media in it, and the number of these."""
    left, found = _strip(block, deepest=_DEEPEST, is_media=False)
    return (left if isinstance(left, Mapping) else block), found


def _strip(value: object, *, deepest: int, is_media: bool) -> tuple[object, int]:
    if not deepest or not isinstance(value, (Mapping, list, tuple)):
        return value, 0
    found = 0
    if isinstance(value, Mapping):
        kind = value.get("type")
        is_media = kind not in ("text", "content") and (is_media or (isinstance(kind, str) and kind in _MEDIA))
        left: dict[object, object] = {}
        for key, one in value.items():
            found += (is_one := is_media and key in _PAYLOADS and isinstance(one, (str, bytes)))
            if not is_one or not _is_payload(one):
                left[key], inner = _strip(one, deepest=deepest - 1, is_media=is_media)
                found += inner
        return (left if found else value), found
    parts = [_strip(one, deepest=deepest - 1, is_media=is_media) for one in value]
    return [part for part, _ in parts], sum(times for _, times in parts)


def _is_payload(value: object) -> bool:
    """Return whether a value is the bytes or the address of something: it is no prose."""
    if not isinstance(value, str):
        return isinstance(value, bytes)
    return " " not in value[:_LOOKED_AT] and value[:_LOOKED_AT].isascii()


def _written(where: str, value: object) -> str:
    require_json(where, value)
    return json_text(value)


def require_json(where: str, value: object) -> None:
    """Refuse a value that cannot be written as JSON; ``where`` names its place."""
    try:
        json_text(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{where} cannot be written as JSON: {error}") from error


def type_name(value: object) -> str:
    """Return a value's type with its article, for an error: ``a list``."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def refuse(where: str, what: str, hint: str = "") -> NoReturn:
    """Raise the error for a message or a tool that no provider accepts; ``where`` names its place."""
    raise UsageError(f"{where} {what}", hint=hint)
