"""Choose the checks of ``agentctl doctor``, run them, and report whether a run would start here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

from agentctl.cli.doctor import checks
from agentctl.cli.doctor.findings import GRACE_S, DoctorCheck, DoctorReport, Finding, missing, run_checks, warning
from agentctl.core.errors import LIMIT_NAMES, AgentctlError
from agentctl.core.pricing import ModelFacts
from agentctl.providers.selection import resolve_provider
from agentctl.settings import Loaded, ProviderChoice, SettingsCheck
from agentctl.settings.names import KEY_NAMES
from agentctl.settings.own_files import is_folder
from agentctl.settings.provider_choice import needs_of

_FILES_S = 2.0
_OUTSIDE_S = checks.PATIENCE_S + GRACE_S

CheckStartable = Callable[[Loaded, ProviderChoice], ModelFacts]
"""Raises what a run would raise before it begins: ``runner.assemble.check_startable``."""


class _Chosen(NamedTuple):
    """The provider that a run would use, or the error if there is none."""

    choice: ProviderChoice | None = None
    facts: ModelFacts | None = None
    error: AgentctlError | None = None


def examine(
    checked: SettingsCheck,
    *,
    check_startable: CheckStartable,
    caller_findings: Sequence[Finding],
    today: date,
    offline: bool = False,
) -> DoctorReport:
    """Run all checks in parallel and return the report; no check takes longer than a few seconds.

    ``caller_findings`` are those that only the caller can make: terminal and versions. ``offline`` makes no request
    beyond this host.
    """
    loaded = checked.incomplete
    if loaded is None:
        problems = tuple(missing("settings", text, _undo_hint(text), stops=True) for text in checked.problems)
        return DoctorReport(None, problems[0].message, problems[0].hint, (*problems, *caller_findings))
    chosen = _choose(loaded, check_startable)
    wrong = _problem_findings(loaded, chosen.choice)
    found = (*wrong, *run_checks(_checks_for(loaded, checked, chosen, today, offline=offline)))
    if stopping := [finding for finding in wrong if finding.stops]:
        return DoctorReport(None, stopping[0].message, stopping[0].hint, (*found, *caller_findings))
    choice, error = chosen.choice, chosen.error
    if choice is None or error is not None:
        message, hint = (error.message, error.hint) if error is not None else ("no provider is available", "")
        return DoctorReport(None, message, hint, (*found, *caller_findings))
    name = f"{choice.provider}/{choice.model}" if choice.model else choice.provider
    return DoctorReport(name, choice_reason(loaded, choice), "", (*found, *caller_findings))


def _problem_findings(loaded: Loaded, choice: ProviderChoice | None) -> tuple[Finding, ...]:
    """Return a finding for each wrong setting: a problem if it stops a run, a warning if a run does not need it."""
    found = []
    for problem in loaded.set_aside:
        chosen = needs_of(choice.provider) if choice is not None else problem.names_provider
        stops = not {"always", "run", *chosen}.isdisjoint(problem.stops)
        text = str(problem)
        hint = _undo_hint(text)
        found.append(missing("settings", text, hint, stops=True) if stops else warning("settings", text, hint))
    return tuple(found)


def _undo_hint(problem: str) -> str:
    """Return the command that unsets an invalid environment variable, else the one that lists all problems."""
    found = re.search(r"\(environment ([A-Z_0-9]+)\)", problem)
    return f"unset {found[1]}" if found else "agentctl config check"


def _choose(loaded: Loaded, check_startable: CheckStartable) -> _Chosen:
    """Choose as a run would, in spite of wrong settings that do not name the provider."""
    choice = None
    loaded = replace(loaded, set_aside=tuple(problem for problem in loaded.set_aside if problem.names_provider))
    try:
        choice = resolve_provider(loaded)
        return _Chosen(choice, check_startable(loaded, choice))
    except AgentctlError as error:
        return _Chosen(choice, None, error)


def _checks_for(
    loaded: Loaded, checked: SettingsCheck, chosen: _Chosen, today: date, *, offline: bool
) -> tuple[DoctorCheck, ...]:
    settings, choice = loaded.settings, chosen.choice
    is_placed = not loaded.is_wrong("state_dir")
    is_limited = not any(map(loaded.is_wrong, LIMIT_NAMES))
    due = [
        DoctorCheck("settings", partial(checks.check_settings, loaded, checked.notes), _FILES_S),
        DoctorCheck("project files", partial(checks.check_project_files, loaded, checked.notes), _FILES_S),
    ]
    if choice is not None:
        due += [
            DoctorCheck("key", partial(checks.check_key, loaded, choice), _FILES_S),
            DoctorCheck("provider", partial(checks.check_provider, loaded, choice, offline=offline), _OUTSIDE_S),
        ]
    elif chosen.error is not None and chosen.error.kind == "auth":
        error = chosen.error
        due.append(DoctorCheck("key", lambda: (missing("key", error.message, _key_hint(error), stops=True),), _FILES_S))
    if choice is not None and settings.fallbacks and choice.provider != "builtin":
        due.append(DoctorCheck("fallbacks", partial(checks.check_fallbacks, loaded, choice), _FILES_S))
    if chosen.facts is not None:
        due.append(DoctorCheck("price", partial(checks.check_price, chosen.facts), _FILES_S))
    workspace = settings.workdir if settings.workdir and is_folder(settings.workdir) else Path.cwd()
    due.append(DoctorCheck("price table", partial(checks.check_price_table, loaded, today), _OUTSIDE_S))
    if is_limited and is_placed:
        due.append(DoctorCheck("limits", partial(checks.check_limits, loaded, chosen.facts), _FILES_S))
    if settings.hook:
        due.append(DoctorCheck("hooks", partial(checks.check_hooks, settings), _FILES_S))
    if is_placed:
        due += [
            DoctorCheck("ledger", partial(checks.check_ledger, settings.ledger_address), _OUTSIDE_S),
            DoctorCheck("state folder", partial(checks.check_state_folder, settings.state_dir), _FILES_S),
        ]
    return (
        *due,
        DoctorCheck("engine", partial(checks.check_engine, loaded, offline=offline), _OUTSIDE_S),
        DoctorCheck(
            "sandbox", partial(checks.check_sandbox, settings, str(loaded.sources["sandbox"]), workspace), _OUTSIDE_S
        ),
    )


def _key_hint(error: AgentctlError) -> str:
    named = [provider for provider, name in KEY_NAMES.items() if name in error.message]
    return f"agentctl providers set-key {named[0]}" if len(named) == 1 else "agentctl run --provider builtin TASK"


def choice_reason(loaded: Loaded, choice: ProviderChoice) -> str:
    """Return why ``choice`` was made, as a clause after "because"."""
    source = loaded.sources["llm_provider"]
    if loaded.settings.llm_provider is not None:
        return f"{loaded.names.get('llm_provider', 'LLM_PROVIDER')} selects it ({_place(source.kind, source.detail)})"
    if choice.chosen_by.startswith("key "):
        found = loaded.sources[f"{choice.provider}_api_key"]
        return f"{choice.chosen_by} is set ({_place(found.kind, found.detail)})"
    if choice.provider == "builtin":
        return {
            "no key": "no key is set and no model is named",
            "no key, no server": "no key is set and no Ollama answers on this host",
        }.get(choice.chosen_by, choice.chosen_by.replace("no key", "no key is set", 1))
    return {"Ollama on this host, its only model": "Ollama on this host has it as its only model"}.get(
        choice.chosen_by, choice.chosen_by
    )


def _place(kind: str, detail: str) -> str:
    return kind if kind in ("environment", "flag") else f"{kind} {detail}".rstrip()
