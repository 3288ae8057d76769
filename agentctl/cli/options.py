"""Flags that several commands share: their Typer annotations, and the parsers of their values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agentctl.cli.run.setting_flags import SETTING_FLAGS, SYNONYMS
from agentctl.core.errors import UsageError

if TYPE_CHECKING:
    from agentctl.cli.run.resumed import ResumeRequest

TableForm = Literal["table", "json"]

COMMON, LIMITS, INPUT, OUTPUT = "Common options", "Limits", "Input", "Output"

Json = Annotated[bool, typer.Option("--json", help="Same as -o json.", rich_help_panel=OUTPUT)]
Output = Annotated[
    TableForm | None,
    typer.Option("-o", "--output", help="Output format (default table).", show_default=False, rich_help_panel=OUTPUT),
]

Config = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="Read this TOML file instead of your config.toml.")
]
EnvFile = Annotated[
    list[str] | None, typer.Option("--env-file", metavar="FILE", help="Also read this .env file (may be repeated).")
]

Schema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="SCHEMA",
        help="Answer as JSON by this schema: a file, JSON, or name:type.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]

NoCi = Annotated[bool, typer.Option("--no-ci", help="Write no annotation or summary in CI.", rich_help_panel=OUTPUT)]
Junit = Annotated[
    str | None,
    typer.Option("--junit", metavar="FILE", help="Write a JUnit XML report to FILE.", rich_help_panel=OUTPUT),
]
Dotenv = Annotated[
    str | None,
    typer.Option("--dotenv", metavar="FILE", help="Write a dotenv report for GitLab.", rich_help_panel=OUTPUT),
]

WINDOW, WHAT = "Window", "Selection"


def _since(help: str, panel: str) -> Any:  # noqa: ANN401 - Typer's own type
    return typer.Option("--since", metavar="WHEN", help=help, rich_help_panel=panel)


Since = Annotated[
    str | None,
    _since("Start of the window: 30m, 2h, 2026-11-01, 2026-11-01T14:00 (optionally with Z or +02:00).", WINDOW),
]
StartedSince = Annotated[
    str | None,
    _since("Only runs that started since then: 30m, 2h, 7d, 2026-11-01, 2026-11-01T14:00.", WHAT),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="WHEN",
        help="End of the window; a date includes that day. Without --since, the window begins with the first call.",
        rich_help_panel=WINDOW,
    ),
]
Timezone = Annotated[
    str | None,
    typer.Option(
        "--timezone",
        metavar="NAME",
        help="Time zone of days and hours, such as Europe/Berlin (default: this machine's zone).",
        rich_help_panel=WINDOW,
    ),
]
OneRun = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="ID",
        help="Only this run and the runs that it started (id or prefix); from its start, unless a window is given.",
        rich_help_panel=WHAT,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="K=V",
        help="Only runs with this label (may be repeated; all must match).",
        rich_help_panel=WHAT,
    ),
]
By = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="GROUPS",
        help="Group by any of hour, day, model, provider, agent, run, purpose, host, ci_run, user, label:NAME,"
        " comma-separated.",
        rich_help_panel=WHAT,
    ),
]

_SYNONYMS = {**SYNONYMS, "format": "output", "dry-run": "estimate", "ls": "list"}

#: The other long form of a flag -> the flag.
FLAG_SYNONYMS = {f"--{name}": f"--{flag}" for name, flag in _SYNONYMS.items() if name != "ls"}

#: The panels of ``run --help``, in their order.
_PANELS = (COMMON, LIMITS, "Context", "Permissions", INPUT, OUTPUT)


def with_setting_flags(
    command: Callable[..., None], fields: Sequence[str] = tuple(SETTING_FLAGS)
) -> Callable[..., None]:
    """Return ``command`` with the flags of settings, by default all; it receives the given ones as ``flags``."""
    given = inspect.signature(command).parameters.values()
    own = [parameter for parameter in given if parameter.name != "flags"]
    flags = [
        inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=SETTING_FLAGS[field])
        for field in fields
    ]

    def call(**values: object) -> None:
        typed = {field: values.pop(field) for field in fields}
        command(**values, flags={field: word for field, word in typed.items() if word is not None and word != []})

    whole = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*flags, *own)]
    whole.sort(key=_panel)
    call.__doc__, call.__name__ = command.__doc__, command.__name__
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in whole}
    call.__signature__ = inspect.Signature(whole)  # type: ignore[attr-defined]  # read by inspect.signature
    return call


def _panel(parameter: inspect.Parameter) -> int:
    shown = [getattr(one, "rich_help_panel", None) for one in getattr(parameter.annotation, "__metadata__", ())]
    return 1 + _PANELS.index(shown[0]) if shown and shown[0] else 0


def canonical(word: str) -> str:
    """Return the canonical name of a flag or command that has a synonym."""
    return _SYNONYMS.get(word, word)


def output_form(output: str | None, *, json: bool) -> str | None:
    """Return the output format that ``-o`` or ``--json`` requests, None without either.

    Raises:
        UsageError: ``--json`` contradicts ``-o``.
    """
    if json and output not in (None, "json"):
        raise UsageError(f"--json cannot be combined with -o {output}", hint="give one of them")
    return "json" if json else output


def refuse_id_with_last(run_id: str | None, *, last: bool) -> None:
    """Check that a command that reads one run was not given both an ID and ``--last``.

    Raises:
        UsageError: it was.
    """
    if last and run_id is not None:
        raise UsageError("--last cannot be combined with an ID", hint="give one of them")


def approval_mode(approve: str | None, *, yes: bool) -> str | None:
    """Return the mode that ``--approve`` or ``--yes`` requests, None without either.

    Raises:
        UsageError: ``--yes`` contradicts ``--approve``.
    """
    if yes and approve not in (None, "all"):
        raise UsageError(f"--yes cannot be combined with --approve {approve}", hint="give one of them")
    return "all" if yes else approve


def resume_request(run_id: str | None, *, go_on: bool, fork: bool, accept_changes: bool) -> ResumeRequest | None:
    """Return the run that the flags of ``run`` go on with, None without such a flag.

    Raises:
        UsageError: two runs are named, or none.
    """
    if run_id is None and not go_on:
        if fork or accept_changes:
            flag = "--fork" if fork else "--accept-changes"
            raise UsageError(f"{flag} is for a run that goes on", hint="name it: --resume ID, or -c for the last one")
        return None
    if run_id is not None and go_on:
        raise UsageError("--resume cannot be combined with --continue", hint="give one of them")
    from agentctl.cli.run.resumed import ResumeRequest

    return ResumeRequest(run_id, go_on, fork, accept_changes)


def wants_json(output: str | None, *, json: bool) -> bool:
    """Return whether a listing is printed as JSON."""
    return output_form(output, json=json) == "json"


def parse_labels(given: Sequence[str] | None) -> dict[str, str]:
    """Return ``k=v`` words as a mapping.

    Raises:
        UsageError: a word has no ``=`` or no name, or a label cannot be stored.
    """
    from agentctl.settings.labels import check_labels, folder_label

    labels: dict[str, str] = {}
    for word in given or ():
        name, mark, value = word.partition("=")
        if not mark or not name.strip():
            raise UsageError(f'--label "{word}" is not NAME=VALUE', hint="for example: --label team=web")
        is_folder = name.strip() == "workdir"  # as it stands in $PWD, whatever its name consists of
        labels[name.strip()] = folder_label(value.strip()) if is_folder else value.strip()
    return check_labels(labels)


def parse_params(given: Sequence[str] | None) -> dict[str, str]:
    """Return ``k=v`` words of ``--param`` as a mapping.

    Raises:
        UsageError: a word is not NAME=VALUE, stands twice, or is too long.
    """
    if not given:
        return {}
    from agentctl.runner.agent_choice import parse_values

    return parse_values(given)


def parse_groups(by: str) -> tuple[str, ...]:
    """Return the groups that ``--by`` names, without duplicates.

    Raises:
        UsageError: an unknown group.
    """
    from agentctl.core.text import did_you_mean
    from agentctl.ledger.grouping import GROUPS, LABEL

    words = tuple(dict.fromkeys(word.strip() for word in by.split(",")))
    for word in words:
        if word in GROUPS or (word.startswith(LABEL) and word != LABEL):
            continue
        near = did_you_mean(word, GROUPS)
        allowed = f"--by takes {', '.join(GROUPS)} and label:NAME, comma-separated"
        raise UsageError(f'--by "{word}" is unknown', hint=f"{near} {allowed}".strip())
    return words
