"""One call of the command line: its words, the output they ask for, and who assembles a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from agentctl.runner.orchestrator import Orchestrator

Form = Literal["text", "json", "jsonl"]
Assemble = Callable[..., "Orchestrator"]

_VALUED = ("-o", "--output", "--format")


class Invocation(NamedTuple):
    """``assemble`` is None for the real parts."""

    argv: tuple[str, ...]
    assemble: Assemble | None = None

    @property
    def command(self) -> str | None:
        """The first word that is no flag."""
        return next((word for word in self.argv if not word.startswith("-")), None)

    @property
    def form(self) -> Form:
        """What the words ask for, readable even when they are wrong elsewhere."""
        form = requested_form(self.argv)
        return "jsonl" if form == "json" and self.command == "costs" and "--watch" in self.argv else form


def requested_form(argv: tuple[str, ...]) -> Form:
    """Return the output that ``argv`` asks for, whatever else is wrong with it; the last one counts."""
    form: Form = "text"
    for word, following in zip(argv, (*argv[1:], ""), strict=True):
        if word == "--":
            break
        name, mark, value = word.partition("=")
        if word == "--json":
            value = "json"
        elif name in _VALUED:
            value = value if mark else following
        elif word.startswith("-o") and not word.startswith("--"):
            value = word[2:]
        else:
            continue
        match value:
            case "json":
                form = "json"
            case "jsonl":
                form = "jsonl"
            case "text":
                form = "text"
            case _:
                pass
    return form
