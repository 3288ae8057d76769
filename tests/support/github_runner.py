"""What GitHub's runner does with the output and the files of a step, written from its source (actions/runner).

``ActionCommand.cs`` parses a line, ``ActionCommandManager.cs`` decides what is done, ``FileCommandManager.cs`` reads
the files. Nothing of agentctl is used here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

#: The commands of the runner, and the token that a workflow may have given to ``stop-commands``.
REGISTERED = frozenset(
    {
        *("set-env", "set-output", "save-state", "add-mask", "add-path", "add-matcher", "remove-matcher"),
        *("debug", "notice", "warning", "error", "group", "endgroup", "echo", "stop-commands", "pause-logging"),
    }
)
# what .NET's TrimStart removes
_BLANK = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_DATA = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
_PROPERTY = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))
_OLD = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%25", "%"))


@dataclass(frozen=True, slots=True)
class RunnerCommand:
    """A command that the runner executes."""

    name: str
    data: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


def commands_of(output: bytes | str) -> list[RunnerCommand]:
    """Return what the runner would execute of a stream of a step."""
    text = output.decode("utf-8", "replace") if isinstance(output, bytes) else output
    found = (_parse(line) for line in re.split(r"\r\n|\n|\r", text))
    return [command for command in found if command is not None]


def _parse(line: str) -> RunnerCommand | None:
    return _parse_v2(line) or _parse_v1(line)


def _parse_v2(line: str) -> RunnerCommand | None:
    message = line.lstrip(_BLANK)
    if not message.startswith("::") or (end := message.find("::", 2)) < 0:
        return None
    return _command(message[2:end], message[end + 2 :], ",", _PROPERTY, _DATA)


def _parse_v1(line: str) -> RunnerCommand | None:
    start = line.find("##[")
    end = line.find("]", start)
    if start < 0 or end < 0:
        return None
    return _command(line[start + 3 : end], line[end + 1 :], ";", _OLD, _OLD)


def _command(
    info: str, data: str, mark: str, of_property: tuple[tuple[str, str], ...], of_data: tuple[tuple[str, str], ...]
) -> RunnerCommand | None:
    name, _, given = info.partition(" ")
    if name.lower() not in REGISTERED:
        return None
    pairs = (pair.split("=", 1) for pair in given.strip().split(mark) if pair)
    properties = {pair[0]: _unescape(pair[1], of_property) for pair in pairs if len(pair) == 2 and pair[1]}
    return RunnerCommand(name.lower(), _unescape(data, of_data), properties)


def _unescape(text: str, mappings: tuple[tuple[str, str], ...]) -> str:
    for escaped, plain in mappings:
        text = text.replace(escaped, plain)
    return text


def azure_commands_of(output: bytes | str) -> list[str]:
    """Return what Azure's agent, and TeamCity, would take for a command in a stream of a step."""
    text = output.decode("utf-8", "replace") if isinstance(output, bytes) else output
    return [line for line in text.splitlines() if re.search(r"##(?:vso|teamcity)\[", line, re.IGNORECASE)]


def read_file_command(text: str) -> dict[str, str]:
    """Return the pairs of ``$GITHUB_OUTPUT``, as the runner reads them.

    Raises:
        ValueError: it would fail the step.
    """
    pairs: dict[str, str] = {}
    lines = text.split("\n")
    has_end = lines[-1] == ""
    place = 0
    while place < len(lines) - (1 if has_end else 0):
        line = lines[place]
        place += 1
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if heredoc >= 0 and (equals < 0 or heredoc < equals):
            name, delimiter = line.split("<<", 1)
            if not name or not delimiter:
                raise ValueError(f"Invalid format '{line}'")
            value = []
            while place < len(lines) and lines[place] != delimiter:
                value.append(lines[place])
                place += 1
            if place >= len(lines):
                raise ValueError(f"Matching delimiter not found '{delimiter}'")
            place += 1
            pairs[name] = "\n".join(value)
        elif equals >= 0:
            name, value_text = line.split("=", 1)
            if not name:
                raise ValueError(f"Invalid format '{line}'")
            pairs[name] = value_text
        else:
            raise ValueError(f"Invalid format '{line}'")
    return pairs
