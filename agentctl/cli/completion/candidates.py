"""The words that a shell offers for the value of a flag or argument."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from typer._click.shell_completion import CompletionItem

from agentctl.cli.completion.shells import FILES, FOLDERS
from agentctl.core.errors import AgentctlError

if TYPE_CHECKING:
    from agentctl.settings.named_providers import NamedProvider

Word = tuple[str, str]
_MOST_RUNS = 50
_MOST_S = 0.7  # seconds that a shell waits for values, as when settings are on a network that does not answer
_RESELLERS = ("groq", "openrouter")  # their models have names of other providers
_WINDOWS = {
    "30m": "the last 30 minutes",
    "1h": "the last hour",
    "24h": "the last 24 hours",
    "7d": "the last 7 days",
    "30d": "the last 30 days",
}


def candidates(context: Any, param: Any, incomplete: str) -> list[CompletionItem]:  # noqa: ANN401 - Typer's own types
    """Return the values of ``param`` that begin with ``incomplete``, or an item that asks for the shell's own files.

    What cannot be read, or not in time, offers nothing: a shell has no place for an error.
    """
    path = context.command_path.removeprefix("agentctl ")
    known = [*param.opts, f"{path} {param.metavar}"]
    kind = next((_KINDS[name] for name in known if name in _KINDS), None)
    if kind is not None:
        return [CompletionItem(incomplete, type=kind)]
    find = next((_FINDERS[name] for name in known if name in _FINDERS), None)
    if find is None:
        return []
    before, comma, last = incomplete.rpartition(",") if param.opts[-1] in _LISTS else ("", "", incomplete)
    given = before.split(",") if comma else []
    found: list[CompletionItem] = []
    with suppress(AgentctlError, OSError, _TooLate), _within(_MOST_S):
        for word, about in find(context.params, last):
            if word.startswith(last) and word not in given:
                found.append(CompletionItem(f"{before}{comma}{word}", help=about))
    return found


class _TooLate(BaseException):
    """The time is over; no ``except Exception`` on the way takes it for an error of its own."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """End the block by ``_TooLate`` after ``seconds``."""

    def end(_number: int, _frame: object) -> None:
        raise _TooLate

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _settings() -> Any:  # noqa: ANN401 - agentctl.settings.Settings, which is not loaded for the help
    from agentctl.settings import load_settings

    return load_settings(flags={}, remember=False, needs=("report",)).settings


def _providers(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from agentctl.settings import DEFAULT_MODELS, OTHER_PROVIDERS

    yield from ((own.name, f"yours, speaks {own.kind}") for own in _own_providers())
    yield from ((name, f"default model {model}" if model else "") for name, model in DEFAULT_MODELS.items())
    yield from ((name, "needs --model") for name in OTHER_PROVIDERS)


def _providers_with_keys(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from agentctl.settings import KEY_NAMES

    yield from ((own.name, own.key_name) for own in _own_providers())
    yield from KEY_NAMES.items()


def _own_providers() -> Iterator[NamedProvider]:
    """Yield the user's own providers, none if their settings cannot be read."""
    with suppress(AgentctlError):
        yield from _settings().providers.values()


def _models(params: dict[str, Any], begun: str) -> Iterator[Word]:
    """Yield the models of the provider that was given, or of the known ones; without a beginning, their defaults."""
    from agentctl.providers.catalog import load_catalog
    from agentctl.settings import DEFAULT_MODELS

    catalog, head = load_catalog(), begun.partition("/")[0]
    defaults = {name: model for name, model in DEFAULT_MODELS.items() if model}
    mine = {one.name: one.model for one in _own_providers() if one.model}
    if given := str(params.get("llm_provider") or ""):
        yield from ((model, given) for name, model in mine.items() if name == given)
        names = (*filter(None, [defaults.get(given)]), *catalog.models(given))
        yield from ((name, given) for name in dict.fromkeys(names))
        return
    yield from ((f"{name}/{model}", f"default of {name}") for name, model in {**mine, **defaults}.items())
    if "/" in begun:
        own = f"{head}/{defaults.get(head)}"
        yield from ((f"{head}/{name}", head) for name in catalog.models(head) if f"{head}/{name}" != own)
    elif begun:
        yield from ((model, name) for name in defaults if name not in _RESELLERS for model in catalog.models(name))


def _qualified_models(_params: dict[str, Any], begun: str) -> Iterator[Word]:
    yield from _models({}, begun if "/" in begun else "")


def _agents(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from agentctl.core.text import safe_text
    from agentctl.runner.agent_catalog import load_catalog
    from agentctl.runner.agent_spec import load_agents
    from agentctl.settings import load_settings

    try:
        found = load_catalog(load_settings(flags={}, remember=False, needs=("config_dir",))).agents
    except AgentctlError:  # settings that cannot be read hide only the user's own
        found = load_agents()
    yield from ((agent.name, safe_text(agent.description)) for agent in found)


def _tools(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from agentctl.tools.toolbox import TOOLS

    yield from ((name, "") for name in TOOLS)


def _servers(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from agentctl.cli.mcp.server_output import server_line
    from agentctl.settings import load_settings
    from agentctl.settings.mcp_servers import read_mcp_config

    found = read_mcp_config(load_settings(flags={}, remember=False, needs=("mcp",)), strict=False)
    yield from ((server.name, server_line(server, found.secrets)[:60]) for server in found.servers)
    yield from ((skipped.name, "left out") for skipped in found.skipped)


def _groups(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from agentctl.ledger.grouping import GROUPS, LABEL

    yield from ((name, "") for name in (*GROUPS, LABEL))


def _run_ids(_params: dict[str, Any], begun: str) -> Iterator[Word]:
    from agentctl.core.text import safe_text
    from agentctl.journal.reader import list_runs

    for run in list_runs(_settings().runs_dir, prefix=begun, most=_MOST_RUNS):
        task = safe_text(" ".join(run.task.split()))
        yield run.run_id, f"{run.status}: {task[:60]}" if task else run.status


def _run_statuses(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from agentctl.cli.runs.run_filter import STATUSES

    yield from ((name, "") for name in STATUSES)


def _run_labels(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from agentctl.cli.runs.run_filter import labels_of
    from agentctl.core.text import safe_text
    from agentctl.journal.reader import list_runs

    for pair, task in labels_of(list_runs(_settings().runs_dir, most=_MOST_RUNS)).items():
        yield safe_text(pair), safe_text(" ".join(task.split()))[:60]


def _setting_names(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from agentctl.settings import TABLE_FIELDS, TOML_FIELDS
    from agentctl.settings.names import DECLARED

    yield from ((name, DECLARED[name].help) for name in TOML_FIELDS if name not in TABLE_FIELDS)


def _setting_values(params: dict[str, Any], begun: str) -> Iterator[Word]:
    """Yield the values that the setting of this ``config set`` can have."""
    from typing import get_args

    from agentctl.settings import Settings

    name = str(params.get("name") or "")
    field = Settings.model_fields.get(name)
    named = {"llm_provider": _providers, "llm_model": _models, "fallbacks": _models, "agent": _agents}
    lists = dict.fromkeys(("tools", "allow", "ask", "deny"), _tools)
    if find := {**named, **lists}.get(name):
        yield from find({}, begun)
    elif field is not None and field.annotation is bool:
        yield from (("true", ""), ("false", ""))
    elif field is not None:
        yield from ((word, "") for word in get_args(field.annotation) if isinstance(word, str))


def _topics(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from agentctl.cli.help.pages import page_title, topics

    yield from ((name, page_title(page)) for name, page in topics().items())


def _time_zones(_params: dict[str, Any], _begun: str) -> Iterator[Word]:
    from zoneinfo import available_timezones

    yield from ((name, "") for name in sorted(available_timezones()))


def _windows(_params: dict[str, Any], _begun: str) -> Iterable[Word]:
    return _WINDOWS.items()


#: Flags, and arguments with their command, whose value is a file or folder: the shell lists them best.
_KINDS = {
    **dict.fromkeys(("--config", "--env-file", "--input", "--task-file", "--schema", "--table", "--from"), FILES),
    **dict.fromkeys(("--agent-file", "--mcp-config"), FILES),
    **dict.fromkeys(("--workdir", "trust DIR"), FOLDERS),
}
#: Flags whose value is a list with commas.
_LISTS = ("--tools", "--by", "--fallbacks", "--status")
#: Flags, and arguments with their command, whose values are known.
_FINDERS: dict[str, Callable[[dict[str, Any], str], Iterable[Word]]] = {
    **dict.fromkeys(("--provider", "providers test NAME"), _providers),
    "providers set-key NAME": _providers_with_keys,
    **dict.fromkeys(("--model", "--fallbacks", "models PATTERN"), _models),
    **dict.fromkeys(("--clear-overrun", "--clear-substitute", "--clear-miscount"), _qualified_models),
    **dict.fromkeys(("--agent", "agents show NAME", "agents check NAME", "--copy"), _agents),
    **dict.fromkeys(("--tools", "--allow", "--deny", "tools show NAME", "policy check CALL"), _tools),
    **dict.fromkeys(("mcp show NAME", "mcp rm NAME", "mcp call NAME", "mcp pin NAME"), _servers),
    **dict.fromkeys(("mcp test NAME", "mcp tools NAME"), _servers),
    "--by": _groups,
    **dict.fromkeys(("--run", "runs show ID", "runs resume ID", "runs export ID", "runs rm ID..."), _run_ids),
    **dict.fromkeys(("runs diff A", "runs diff B", "runs watch ID"), _run_ids),
    "--status": _run_statuses,
    "--label": _run_labels,
    **dict.fromkeys(("config get NAME", "config set NAME"), _setting_names),
    "config set VALUE": _setting_values,
    "help TOPIC": _topics,
    "--timezone": _time_zones,
    **dict.fromkeys(("--since", "--until"), _windows),
}
