"""Rewrite the tool calls that chat templates write in forms of their own as JSON between tags. Pure.

Loaded with the first text that may hold one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from agentctl.core.messages import ToolSpec
from agentctl.tools.toolbox import real_name

FENCE = re.compile(r"^[ \t]*```[ \t]*(?:json|xml|python|tool_calls?|tool_code)?[ \t]*$", re.MULTILINE)
NAME = r"([\w.:/-]+)"
_INPUT = "(?:arguments|parameters|input)"
_JSON_FOLLOWS = r"(?:<\|constrain\|>\w+)?\s*<\|message\|>"
#: Calls as templates write them that are no JSON object: the name, and arguments as JSON or as tags.
_FORMS: Mapping[str, re.Pattern[str]] = {
    begin: re.compile(form, re.DOTALL)
    for begin, form in (
        ("<function=", rf"<function={NAME}>(.*?)(?:</function>|\Z)"),
        ("invoke name=", rf"<(?:\w+:)?invoke name=\"{NAME}\">(.*?)(?:</(?:\w+:)?invoke>|\Z)"),
        ("<tool_call>", rf"<tool_call>\s*{NAME}\s*((?:<arg_key>.*?</arg_value>\s*)+|\{{.*?\}}\s*)(?:</tool_call>|\Z)"),
        (
            "<\uff5ctool\u2581call\u2581begin",
            rf"<\uff5ctool▁call▁begin\uff5c>(?:function<\uff5ctool▁sep\uff5c>)?{NAME}(?:<\uff5ctool▁sep\uff5c>|\s)\s*(.*?)(?:<\uff5ctool▁call▁end\uff5c>|\Z)",
        ),
        ("[TOOL_CALLS]", rf"\[TOOL_CALLS\]\s*{NAME}\s*(?:\[ARGS\])?\s*(\{{.*?\}})\s*(?=\[TOOL_CALLS\]|\Z)"),
        (
            "<|tool_call_begin|>",
            rf"<\|tool_call_begin\|>\s*{NAME}\s*<\|tool_call_argument_begin\|>(.*?)(?:<\|tool_call_end\|>|\Z)",
        ),
        (
            "commentary to=",
            rf"(?:<\|start\|>assistant)?<\|channel\|>commentary to={NAME}[^<{{]*{_JSON_FOLLOWS}(.*?)(?:<\|call\|>|\Z)",
        ),
        ("<function(", rf"<function\({NAME}\)>(.*?)(?:</function>|\Z)"),
        ("<function name=", rf"<function name=\"{NAME}\">(.*?)(?:</function>|\Z)"),
        ("<tool_call name=", rf"<tool_call name=\"{NAME}\">(.*?)(?:</tool_call>|\Z)"),
        (
            "<tool_use>",
            rf"<tool_use>\s*<(?:tool_)?name>{NAME}</(?:tool_)?name>\s*<{_INPUT}>(.*?)</{_INPUT}>\s*</tool_use>",
        ),
        ("call:", rf"(?:<\|tool_call>|(?m:^))call:{NAME}(\{{.*?\}}|\(.*?\))(?:<tool_call\|>|[ \t]*(?=\n|\Z))"),
        ("Action:", rf"(?m:^)Action:[ \t]*{NAME}[ \t]*\nAction Input:[ \t]*(\{{.*?\}})[ \t]*(?=\n|\Z)"),
    )
}
_MOST_CALLS = 100  # of one form
_WITHIN_A_TAG = "\uff5cDSML\uff5c"  # DeepSeek's mark before each name of its tags
_BARE_STRING = re.compile(r'<\|"\|>(.*?)<\|"\|>|("(?:[^"\\]|\\.)*")|\'([^\']*)\'', re.DOTALL)  # of Gemma's templates
_BARE_KEY = re.compile(r"(?<=[{,])\s*([A-Za-z_]\w*)\s*:")
_BARE_VALUE = re.compile(r":([^\"\[{\]},][^,}\]]*)")
_PARAMETER = re.compile(
    r"<(?:\w+:)?parameter(?:=| name=\")([\w.-]+)\"?[^<>]*>(.*?)(?:</(?:\w+:)?parameter>|(?=<parameter))"
    r"|<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>",
    re.DOTALL,
)


def rewrite_calls(text: str, specs: Mapping[str, ToolSpec], is_quoted: Callable[[str], bool]) -> str:
    """Return a text with the calls of other forms as JSON between tags; one that ``is_quoted`` stays."""

    def written(found: re.Match[str]) -> str:
        arguments = _arguments_of(found[2], specs.get(real_name(found[1], specs)))
        if arguments is None or is_quoted(found[0]):
            return found[0]
        return f"<tool_call>{json.dumps({'name': found[1], 'arguments': arguments})}</tool_call>"

    text = text.replace(_WITHIN_A_TAG, "")
    for begin, form in _FORMS.items():
        if 0 < text.count(begin) <= _MOST_CALLS:
            text = form.sub(written, text)
    return text


def _arguments_of(written: str, spec: ToolSpec | None) -> Mapping[str, object] | None:
    """Return the arguments that a template wrote, as JSON or each in a tag; None if they are neither."""
    plain = FENCE.sub("", written).strip()
    if not plain:
        return {}
    if _is_bare(plain):
        plain = _with_quotes(plain)
    if plain.startswith("{"):
        with suppress(ValueError, RecursionError):
            found = json.loads(plain, strict=False)
            return found if isinstance(found, dict) else None
        return None
    if _PARAMETER.sub("", plain).strip():
        return None
    properties = spec.parameters.get("properties") if spec else None
    types = properties if isinstance(properties, dict) else {}
    pairs = ((one[1] or one[3], one[4] if one[2] is None else one[2]) for one in _PARAMETER.finditer(plain))
    return {name.strip(): value_of(value, types.get(name.strip())) for name, value in pairs}


def _is_bare(written: str) -> bool:
    """Return whether arguments are written as Gemma's templates do, with names and strings of their own form."""
    return written.startswith("(") or re.match(r"\{\s*[A-Za-z_]\w*\s*:", written) is not None


def _with_quotes(written: str) -> str:
    """Return Gemma's arguments as JSON."""
    strings = list[str]()

    def kept(found: re.Match[str]) -> str:
        strings.append(found[2] or json.dumps(found[1] if found[1] is not None else found[3]))
        return f'"{len(strings) - 1}"'

    def value(found: re.Match[str]) -> str:
        with suppress(ValueError):
            json.loads(found[1])
            return found[0]
        return ":" + json.dumps(found[1].strip())

    plain = _BARE_KEY.sub(r'"=\1":', "{" + _BARE_STRING.sub(kept, written)[1:-1] + "}")
    plain = _BARE_VALUE.sub(value, plain)
    return re.sub(r'"(=?)(\w+)"', lambda one: f'"{one[2]}"' if one[1] else _nth(strings, one), plain)


def _nth(strings: Sequence[str], found: re.Match[str]) -> str:
    return strings[int(found[2])] if found[2].isdecimal() and int(found[2]) < len(strings) else found[0]


def value_of(written: str, schema: object) -> object:
    """Return the value of an argument that stands in a tag: a text, unless the tool wants something else."""
    written = written.removeprefix("\n").removesuffix("\n")
    if isinstance(schema, dict) and schema.get("type", "string") != "string":
        with suppress(ValueError, RecursionError):
            return json.loads(written.strip(), strict=False)
    return written
