"""Hold back the streamed text of an answer from where it may be a tool call, until that is certain. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from agentctl.tools.toolbox import TOOLS, real_name

#: What begins a call in the text of some chat template, in lower case.
_TAGS: tuple[str, ...] = (
    "<tool_call",
    "<toolcall",
    "<function_call",
    "<functioncall",
    "<function=",
    "<function(",
    "<function name=",
    "<tool_use>",
    "<invoke name=",
    "<tools>",
    "[tool_calls]",
    "[tool_request]",
    "<|tool_call",
    "<|python_tag|>",
    "<|action_start|>",
    "<|start_action|>",
    "<|channel|>commentary to=",
    "<|start|>assistant<|channel|>commentary to=",
    "<\uff5ctool\u2581",
    "<\uff5cdsml",
)
_WORDS = ("action:", "functools[")
_PRINT = "print("
_LANGUAGES = frozenset(("", "json", "xml", "python", "tool_call", "tool_calls", "tool_code"))
_PLACES = re.compile(r"[<\[{`]|^[ \t]*(?=[A-Za-z_])", re.MULTILINE)
_WORD = re.compile(r"[\w.:/-]+")
_KEY = re.compile(r'\{\s*"([^"\\]*)"\s*(?::\s*(?:"([^"\\]*)")?)?')
_NAMES = frozenset(("name", "function", "tool", "tool_name", "function_name", "action"))
_OTHERS = frozenset(("arguments", "parameters", "args", "input", "action_input", "type", "id", "tool_call_id")) | {
    "tool_calls",
    "function_call",
}
_NAMESPACES = ("functions.", "call:")
_LONGEST = 200  # characters before a call is certain: longer ones are none


class CallFilter:
    """Passes on the text of an answer, in any pieces, but for what may be a call of one of the run's tools.

    ``held`` is what waits. From a certain beginning of a call on everything does, as the rest is not an answer either.
    """

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = tools
        self.held = ""
        self._is_call = False
        self._begins_line = True

    def restart(self) -> None:
        """Forget what came: it was no part of the answer."""
        self.held, self._is_call, self._begins_line = "", False, True

    def take(self, text: str) -> str:
        """Add a piece; return what can be shown."""
        self.held += text
        if self._is_call:
            return ""
        place = 0
        for found in _PLACES.finditer(self.held):
            if found.start() < place or (found.end() == 0 and not self._begins_line):
                continue
            line = self.held.rfind("\n", 0, found.start()) + 1
            is_first = not self.held[line : found.start()].strip() and (line > 0 or self._begins_line)
            verdict = self._judge(self.held[found.start() :].lstrip(" \t"), is_first=is_first)
            if verdict is not False:
                self._is_call = verdict is True
                return self._show(found.start())
            place = found.end()
        return self._show(len(self.held))

    def _show(self, end: int) -> str:
        shown, self.held = self.held[:end], self.held[end:]
        if shown:
            last = shown.rpartition("\n")[2]
            self._begins_line = not last.strip() and ("\n" in shown or self._begins_line)
        return shown

    def _judge(self, text: str, *, is_first: bool) -> bool | None:
        """Return whether a text begins with a call, None if that cannot be told yet; ``is_first``: it begins a line."""
        if not text:
            return None
        lower = text[:_LONGEST].lower()
        tags = (*_TAGS, *(f"<{tool}>" for tool in self._tools))
        if any(lower.startswith(tag) for tag in tags):
            return True
        if any(tag.startswith(lower) for tag in tags):
            return None
        if not is_first:
            return False
        if text[0] == "`":
            return self._judge_fence(text)
        return self._judge_json(text) if text[0] in "{[" else self._judge_word(text)

    def _judge_fence(self, text: str) -> bool | None:
        if not text.startswith("```"):
            return None if "```".startswith(text) else False
        language, ends, body = text[3:].partition("\n")
        if not ends:
            return None if any(one.startswith(language.strip()) for one in _LANGUAGES) else False
        if language.strip() not in _LANGUAGES:
            return False
        return self._judge(body.lstrip(), is_first=True) if not body.lstrip().startswith("`") else False

    def _judge_json(self, text: str) -> bool | None:
        inner = text.lstrip("[ \t\n")
        if not inner.startswith("{"):
            return self._judge_word(inner) if inner else None
        found = _KEY.match(inner)
        if found is None:
            return None if len(inner) < _LONGEST and inner[1:].lstrip()[:1] in ("", '"') else False
        key, value = found[1], found[2]
        if key in _OTHERS or key in self._tools:
            return True
        if key not in _NAMES:
            return False
        if value is None:
            rest = inner[found.end() :].lstrip()
            return None if rest[:1] in ("", '"', "{") and len(rest) < _LONGEST else False
        return real_name(value, self._tools) in {*self._tools, *TOOLS}

    def _judge_word(self, text: str) -> bool | None:
        lower = text.lower()
        if lower.startswith(_WORDS):
            return True
        if lower.startswith(_PRINT) and len(lower) > len(_PRINT):
            return self._judge_word(text[len(_PRINT) :])
        if any(word.startswith(lower) for word in (*_WORDS, _PRINT)):
            return None
        found = _WORD.match(text)
        if found is None:
            return False
        name, rest = found[0].rpartition(":")[2].rpartition("/")[2], text[found.end() :].lstrip(" ")
        name = name.rpartition(".")[2] if name not in self._tools else name
        if not rest:
            may_go_on = any(tool.startswith(name) for tool in self._tools) or any(
                one.startswith(found[0]) for one in _NAMESPACES
            )
            return None if may_go_on else False
        begins = "({" if found[0].startswith("call:") else "("
        return rest[0] in begins and (real_name(name, self._tools) in self._tools or name == "call")
