"""The inputs of the action, from the flags of ``run``: each flag is one, or stands in ``LEFT_OUT`` with the reason."""

from __future__ import annotations

import json
import re
import textwrap
from typing import NamedTuple

from tests.support.command_parser import ROOT_COMMAND

#: The flags that are no inputs, and why not.
LEFT_OUT = {
    "yes": "approve: all says the same",
    "json": "output: json says the same",
    "estimate": "it makes no run, so there would be no outputs",
    "resume": "a new machine has no runs to go on with",
    "continue": "a new machine has no runs to go on with",
    "fork": "a new machine has no runs to go on with",
    "accept-changes": "a new machine has no runs to go on with",
    "color": "the log of a step is no terminal",
    "no-ci": "the outputs of the action are what it turns off",
    "dotenv": "GitLab's form of the outputs",
}
#: Inputs that are no flags: how the action itself is set up.
OWN = {
    "task": ("The task. Longer ones than about 100 kB, or those that a file has: task-file.", ""),
    "python": ("The Python that agentctl is installed for, 3.11 or later.", "python3"),
    "extras": ("Extras of agentctl that the run needs, such as 'mcp postgres'.", ""),
}
#: Defaults other than the flag's own.
DEFAULTS = {"read-only": "true", "input": "none"}


class Flag(NamedTuple):
    """A flag of ``run``: its long name, whether it is a switch (``off`` is its opposite) or a list, and its help."""

    name: str
    is_switch: bool
    off: str
    is_list: bool
    help: str


def flags() -> list[Flag]:
    """Return the flags of ``run``, in the order of its help."""
    commands = getattr(ROOT_COMMAND, "commands", {})
    found = []
    for one in commands["run"].params:
        names = [name.removeprefix("--") for name in one.opts if name.startswith("--")]
        if names:
            off = one.secondary_opts[0].removeprefix("--") if one.secondary_opts else ""
            found.append(Flag(names[0], one.is_flag, off, one.multiple, one.help))
    return found


def with_inputs(action: str) -> str:
    """Return the text of action.yml with its generated parts as the flags of ``run`` are now."""
    used = [flag for flag in flags() if flag.name not in LEFT_OUT]
    left = "".join(f"  #   {name}: {why}\n" for name, why in LEFT_OUT.items())
    blocks = [_block(name, text, default) for name, (text, default) in OWN.items()]
    blocks += [_block(flag.name, _description(flag), DEFAULTS.get(flag.name, "")) for flag in used]
    head = (
        "inputs:\n"
        "  # Written from the flags of agentctl run by `python -m tests.support.docs_pages`; do not edit.\n"
        f"  # Flags that are no inputs:\n{left}"
    )
    action = _replaced(action, r"^inputs:\n(?:[ #].*\n)*", head + "".join(blocks))
    switches = " ".join(f"{flag.name}/{flag.off}".rstrip("/") for flag in used if flag.is_switch)
    action = _replaced(action, r"^        SWITCHES: .*\n", f"        SWITCHES: {switches}\n")
    lists = " ".join(flag.name for flag in used if flag.is_list)
    return _replaced(action, r"^        LISTS: .*\n", f"        LISTS: {lists}\n")


def _description(flag: Flag) -> str:
    text = re.sub(r" ?\(may be repeated(; )?\)|[,;] may be repeated", "", flag.help).removesuffix(".")
    if flag.is_list:
        return f"{text}. One a line."
    return f"{text}: true or false." if flag.is_switch else f"{text}."


def _block(name: str, text: str, default: str) -> str:
    lines = textwrap.wrap(text, 110, break_long_words=False)
    folded = "".join(f"      {line}\n" for line in lines)
    return f"  {name}:\n    description: >-\n{folded}    default: {json.dumps(default)}\n"


def _replaced(text: str, pattern: str, new: str) -> str:
    replaced, count = re.subn(pattern, lambda _: new, text, count=1, flags=re.MULTILINE)
    assert count == 1, f"action.yml has no {pattern}"
    return replaced
