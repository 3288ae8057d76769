"""Judge a shell command by the allow rules: ``run_shell(git log *)``. Pure.

A command is parsed with tree-sitter's grammar of bash. It can be allowed if it is one command, or several joined by
``|``, ``&&``, ``||`` and ``;``, and each word is plain: no expansion, no escape, no assignment, no redirection but to
``/dev/null``. Then each part must be covered by a rule word by word, and no word that a wildcard stands for may make
the program run another one, write or connect (``program_words``). Everything else is not allowed here, with the reason.
This saves questions; it is not a boundary, which is what the sandbox is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.tool_rules import SHELL_ARGUMENTS, Rule, glob, is_pattern
from agentctl.permissions.known_programs import RESERVED, Words
from agentctl.permissions.program_words import is_runner, unwrapped, why_refused

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_MOST_CHARACTERS = 4000
_MOST_WORDS = 200
_MOST_PARTS = 20
_UNQUOTED = re.compile(r"(?:[A-Za-z0-9_@%+=:,./-]|(?<=[A-Za-z0-9])[~^])+")
_ENDS = re.compile(r"(?: +(?:2>&1|1?>&2|[12]?>>? ?/dev/null))+")
_JOINS = {"program": (";",), "list": ("&&", "||"), "pipeline": ("|",)}
_KINDS = {
    "ansi_c_string": "a string with escapes",
    "arithmetic_expansion": "arithmetic",
    "brace_expression": "braces",
    "command_substitution": "a command substitution",
    "comment": "a comment",
    "declaration_command": "a declaration",
    "expansion": "an expansion",
    "file_redirect": "a redirection",
    "function_definition": "a function",
    "heredoc_redirect": "a here-document",
    "herestring_redirect": "a here-string",
    "negated_command": "a negation",
    "process_substitution": "a process substitution",
    "simple_expansion": "an expansion",
    "subshell": "a subshell",
    "translated_string": "a translated string",
    "variable_assignment": "an assignment",
}


class CommandVerdict(NamedTuple):
    """Whether the rules allow a command: the rule of each part, the words of each part, and why not."""

    allowed: bool
    why: str = ""
    rules: tuple[Rule, ...] = ()
    parts: tuple[Words, ...] = ()


class NotPlain(ValueError):
    """The command is more than plain words; the message says what it has."""


def judge_command(rules: Sequence[Rule], name: str, arguments: Mapping[str, object]) -> CommandVerdict:
    """Return whether the allow rules cover a call of the shell tool ``name``, whatever its sandbox."""
    argument = SHELL_ARGUMENTS[name]
    command = arguments.get(argument)
    patterns = [(rule, pattern) for rule in rules if (pattern := _command_pattern(rule, name, argument, arguments))]
    if not isinstance(command, str) or not patterns:
        return CommandVerdict(False, "no rule is about commands")
    try:
        parts = plain_commands(command)
    except NotPlain as error:
        return CommandVerdict(False, f"a rule covers plain words only, and the command has {error}")
    used: list[Rule] = []
    for words in parts:
        why = ""
        for rule, pattern in patterns:
            refusal = _refusal(pattern, words, alone=len(parts) == 1)
            if refusal == "":
                used.append(rule)
                break
            why = why or (f"{rule} does not cover it: {refusal}" if refusal else "")
        else:
            return CommandVerdict(False, why or f"no rule covers {shlex.join(words)[:200]}", (), parts)
    return CommandVerdict(True, "", tuple(dict.fromkeys(used)), parts)


def plain_commands(text: str) -> tuple[Words, ...]:
    """Return the words of each simple command in ``text``, as bash would pass them to the programs.

    Raises:
        NotPlain: bash would do more than run programs with these words, or could read them in another way.
    """
    text = text.strip(" \n")
    if len(text) > _MOST_CHARACTERS:
        raise NotPlain(f"more than {_MOST_CHARACTERS} characters")
    if not text.isprintable():
        raise NotPlain("a line break or another control character")
    source = text.encode()
    root = _parser().parse(source).root_node
    if root.has_error or not source:
        raise NotPlain("no syntax that can be parsed")
    parts = tuple(_commands(root, source))
    if len(parts) > _MOST_PARTS or sum(map(len, parts)) > _MOST_WORDS:
        raise NotPlain(f"more than {_MOST_PARTS} parts or {_MOST_WORDS} words")
    return parts


@cache
def _parser() -> Parser:
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def _commands(node: Node, source: bytes, depth: int = 0) -> Iterator[Words]:
    if depth > 2 * _MOST_PARTS:
        raise NotPlain(f"more than {_MOST_PARTS} parts")
    children = _without_gaps(node, source, 0 if node.type == "program" else node.start_byte)
    if node.type == "command":
        yield _words(node, children, source)
    elif node.type == "redirected_statement":
        body = children[0]
        if _ENDS.fullmatch(source[body.end_byte : node.end_byte].decode()) is None:
            raise NotPlain("a redirection")
        yield from _commands(body, source, depth + 1)
    elif node.type in _JOINS:
        for child in children:
            if child.is_named:
                yield from _commands(child, source, depth + 1)
            elif child.type not in _JOINS[node.type]:
                raise NotPlain(f'"{child.type}"')
    else:
        raise _other(node)


def _without_gaps(node: Node, source: bytes, start: int) -> list[Node]:
    """Return the children; between them there may be nothing but spaces."""
    if not node.children:
        raise _other(node)
    place = start
    for child in node.children:
        if source[place : child.start_byte].strip(b" "):
            raise NotPlain("an escape")
        place = child.end_byte
    if source[place : len(source) if node.type == "program" else node.end_byte].strip(b" "):
        raise NotPlain("an escape")
    return node.children


def _words(node: Node, children: list[Node], source: bytes) -> Words:
    first = children[0]
    if first.type != "command_name" or len(first.children) != 1:
        raise _other(first)
    words = tuple(_word(child, source) for child in (first.children[0], *children[1:]))
    text = source[node.start_byte : node.end_byte].decode()
    if any(word.type == "concatenation" and _has_gaps(word) for word in children[1:]) or shlex.split(text) != [*words]:
        raise NotPlain("quotes that can be read in two ways")
    if words[0] in RESERVED or "=" in words[0] or words[0][:1] in ("", "%"):
        raise NotPlain(f'"{words[0]}" in the place of a program')
    return words


def _has_gaps(node: Node) -> bool:
    ends = [node.start_byte, *(child.end_byte for child in node.children)]
    return [child.start_byte for child in node.children] != ends[:-1]


def _word(node: Node, source: bytes) -> str:
    text = source[node.start_byte : node.end_byte].decode()
    match node.type:
        case "word" | "number" if _UNQUOTED.fullmatch(text) is not None:
            return text
        case "word" | "number":
            raise NotPlain(f"a word that is not plain: {text[:80]}")
        case "raw_string":
            return text[1:-1]
        case "string":
            inner = text[1:-1]
            if re.search(r'[$`\\!"]', inner) or any(c.type not in ('"', "string_content") for c in node.children):
                raise NotPlain("an expansion or an escape in double quotes")
            return inner
        case "concatenation" if not _has_gaps(node):
            return "".join(_word(child, source) for child in node.children)
        case _:
            raise _other(node)


def _other(node: Node) -> NotPlain:
    return NotPlain(_KINDS.get(node.type, node.type.replace("_", " ")))


def _command_pattern(rule: Rule, name: str, argument: str, arguments: Mapping[str, object]) -> str | None:
    """Return the rule's pattern for the command, if the rest of the rule matches the call."""
    patterns = [pattern for about, pattern in rule.arguments if about == argument]
    rest = rule._replace(arguments=tuple(pair for pair in rule.arguments if pair[0] != argument))
    return patterns[0] if len(patterns) == 1 and rest.permits(name, arguments) else None


class _RuleWord(NamedTuple):
    """One word of a rule. ``literal`` None: it has a wildcard. ``many``: it stands for any number of words."""

    pattern: str
    literal: str | None
    many: bool = False


@lru_cache(maxsize=256)
def _rule_words(pattern: str) -> tuple[_RuleWord, ...]:
    """Split the pattern of a command into words; a ``*`` in quotes is an asterisk."""
    texts: list[str] = []
    quote, begun, place = "", False, 0
    while place < len(pattern):
        char = pattern[place]
        if quote and char == quote:
            quote = ""
        elif quote:
            texts[-1] += "\\" + char if char in "*?\\" else char
        elif char == " ":
            begun = False
            place += 1
            continue
        else:
            if not begun:
                texts.append("")
                begun = True
            if char in "'\"":
                quote = char
            elif char == "\\" and place + 1 < len(pattern):
                place += 1
                texts[-1] += "\\" + pattern[place]
            else:
                texts[-1] += char
        place += 1
    texts = [text for place, text in enumerate(texts) if text != "*" or texts[place - 1 : place] != ["*"]]
    words = [
        _RuleWord(text, None if is_pattern(text) else re.sub(r"\\(.)", r"\1", text), many=text == "*") for text in texts
    ]
    if words and not words[-1].many and is_pattern(words[-1].pattern) and re.search(r"(?<!\\)\*$", words[-1].pattern):
        words.append(_RuleWord("*", None, many=True))
    return tuple(words)


def _alignment(rule: tuple[_RuleWord, ...], words: Words) -> tuple[bool, ...] | None:
    """Return for each word whether the rule spells it; None if the rule does not match. Stars take few words first."""
    failed: set[tuple[int, int]] = set()

    def match_from(at: int, place: int) -> tuple[bool, ...] | None:
        if (at, place) in failed:
            return None
        found: tuple[bool, ...] | None = None
        if at == len(rule):
            found = () if place == len(words) else None
        elif rule[at].many:
            found = match_from(at + 1, place)
            if found is None and place < len(words):
                rest = match_from(at, place + 1)
                found = None if rest is None else (False, *rest)
        elif place < len(words) and _matches(rule[at], words[place]):
            rest = match_from(at + 1, place + 1)
            found = None if rest is None else (rule[at].literal is not None, *rest)
        if found is None:
            failed.add((at, place))
        return found

    return match_from(0, 0)


def _matches(rule: _RuleWord, word: str) -> bool:
    return word == rule.literal if rule.literal is not None else glob(rule.pattern).fullmatch(word) is not None


def _refusal(pattern: str, words: Words, *, alone: bool) -> str | None:
    """Return "" if the rule covers the words, why it does not, or None if it is about other words.

    A command behind a wrapper such as ``timeout 5`` is also judged as if it stood alone.
    """
    rule = _rule_words(pattern)
    refusal: str | None = None
    inner: Words | None = words
    while inner is not None:
        spelled = _alignment(rule, inner)
        if spelled is not None:
            refusal = why_refused(inner, spelled, alone=alone)
            if not refusal and len(inner) == 1 and any(word.literal is None for word in rule):
                refusal = why_refused(inner, (False,), alone=alone) if is_runner(inner[0]) else ""
            if not refusal:
                return ""
        inner = unwrapped(inner)
    return refusal
