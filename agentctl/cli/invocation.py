"""One invocation of the command line: its arguments, the requested output format, and how a run is assembled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from agentctl.runner.orchestrator import Orchestrator

Form = Literal["text", "json", "jsonl"]
Assemble = Callable[..., "Orchestrator"]

_VALUED = ("-o", "--output", "--format")


class Invocation(NamedTuple):
    """The arguments of the command line; ``assemble`` replaces the function that assembles a run, None keeps it.

    ``ended`` gets the exit code of a run whose end was told to the CI system.
    """

    argv: tuple[str, ...]
    assemble: Assemble | None = None
    ended: list[int] | None = None

    @property
    def command(self) -> str | None:
        """The first argument that is not a flag."""
        return next((word for word in self.argv if not word.startswith("-")), None)

    @property
    def form(self) -> Form:
        """The requested output format, known even if other arguments are invalid."""
        form = requested_form(self.argv)
        return "jsonl" if form == "json" and self.command == "costs" and "--watch" in self.argv else form


def requested_form(argv: tuple[str, ...]) -> Form:
    """Return the output format that ``argv`` requests, even if it is invalid otherwise; the last one wins."""
    form: Form = "text"
    for word, following in zip(argv, (*argv[1:], ""), strict=False):
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
