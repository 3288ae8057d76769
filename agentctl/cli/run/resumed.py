"""Find the run that a command line resumes, lock it, and merge its flags with those given now."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.budget.rules import PastSpending
from agentctl.cli.documents import usage_fields, usd
from agentctl.cli.run.cassette_flags import REPLAY
from agentctl.cli.ui.terminal import is_person_here
from agentctl.core.errors import AgentctlError, StateError, UsageError
from agentctl.core.ledger_address import LedgerAddress
from agentctl.journal.lock import lock_journal
from agentctl.journal.past_run import PastRun
from agentctl.journal.reader import find_journal, journals
from agentctl.journal.replay import read_past
from agentctl.journal.writer import ENDING
from agentctl.ledger.report import first_outermost, spending_of
from agentctl.runner.agent_spec import AgentSpec, load_agents
from agentctl.runner.resumption import Resumption

if TYPE_CHECKING:
    from agentctl.settings import Loaded

_ADDED = ("allow", "deny")  # lists that grow; any other flag given now replaces an earlier one
_CONFIG, _ENV_FILES = "config", "env_files"  # kept beside the flags of settings, with absolute paths
_MORE_TURNS = "more_turns"  # kept once a part was given more turns, which its agent's own limit does not lower
_SERVERS = "mcp_config"
_SCHEMA = "schema"  # kept as text: its file may change
_AGENT_FILE, _PARAMS, _NOTES = "agent_file", "params", "notes"


class ResumeRequest(NamedTuple):
    """Which run goes on, and how: ``run_id`` None is the last one, ``here`` the last one of this working directory."""

    run_id: str | None = None
    here: bool = False
    is_fork: bool = False
    accepts: bool = False


class StoppedRun(NamedTuple):
    """The run that a command line names: its journal, and the ledger that has its calls."""

    journal: Path
    ledger: LedgerAddress
    is_fork: bool = False

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.journal.name.removesuffix(ENDING)

    @property
    def spent(self) -> PastSpending | None:
        """What it has spent and has in doubt; None if that is unknown. A fork that has not begun has spent nothing."""
        if self.is_fork:
            return PastSpending()
        with suppress(StateError):
            return spending_of(self.ledger, self.run_id)
        return None

    @property
    def fields(self) -> Mapping[str, object]:
        """What the document of a refusal says of the run: which one it is, and what it has cost so far."""
        known: dict[str, object] = {"run_id": None if self.is_fork else self.run_id, "resumed_from": self.run_id}
        with suppress(AgentctlError):
            past = read_past(self.journal)
            names = ("task", "agent", "provider", "provider_chosen_by", "model")
            known |= {name: past.text(name) or None for name in names}
            known |= {"labels": dict(past.labels), "turns": 0 if self.is_fork else past.turns}
        spent = self.spent or PastSpending(cost_nano=None, in_doubt_nano=None)
        return {
            **known,
            "models": list(spent.models),
            "usage": usage_fields(spent.usage),
            "cost": {
                "usd": usd(spent.cost_nano),
                "nano_usd": spent.cost_nano,
                "in_doubt_usd": usd(spent.in_doubt_nano),
                "price_source": None,
            },
        }


def find_stopped(request: ResumeRequest, given: Mapping[str, object]) -> StoppedRun:
    """Find the run that goes on. Where none is named it is the last one that no other run started.

    Raises:
        UsageError: there is no such run.
        StateError: the ledger, or the folder of the journals, cannot be read.
    """
    from agentctl.cli.error_output import report_settings

    settings = report_settings().settings
    folder, ledger = settings.runs_dir, settings.ledger_address
    if request.run_id is not None:
        return StoppedRun(find_journal(folder, request.run_id), ledger, request.is_fork)
    found: dict[str, Path] = {}

    def ids() -> Iterator[str]:
        for path in journals(folder, _workdir(given) if request.here else None):
            found[run_id := path.name.removesuffix(ENDING)] = path
            yield run_id

    last = first_outermost(ledger, ids())
    if last is None:
        raise UsageError("every run here was started by another run", hint="name one by its id: agentctl runs list")
    return StoppedRun(found[last], ledger, request.is_fork)


class OpenedRun:
    """A run that goes on: its past, and its locked journal (None for a fork), until that is handed on.

    ``flags`` are those of the run and those given now, ``config`` and ``env_files`` likewise. ``file`` is the journal.
    """

    def __init__(self, stopped: StoppedRun, request: ResumeRequest, words: str, given: Mapping[str, object]) -> None:
        self.file: int | None = lock_journal(stopped.journal)
        try:
            self.past = read_past(stopped.journal)
            self.flags = _merged(self.past, given)
            config, env_files = self.flags.pop(_CONFIG, None), self.flags.pop(_ENV_FILES, None)
            self.has_more_turns = bool(self.flags.pop(_MORE_TURNS, False)) or "max_turns" in given
            self.config = None if config is None else str(config)
            self.env_files = tuple(map(str, env_files)) if isinstance(env_files, (list, tuple)) else ()
            schema = self.flags.pop(_SCHEMA, None)
            self.schema = None if schema is None else str(schema)
            agent_file, params = self.flags.pop(_AGENT_FILE, None), self.flags.pop(_PARAMS, None)
            self.agent_file = None if agent_file is None else str(agent_file)
            self.params = {str(k): str(v) for k, v in params.items()} if isinstance(params, Mapping) else {}
            notes = self.flags.pop(_NOTES, None)
            self.notes = tuple(map(str, notes)) if isinstance(notes, (list, tuple)) else ()
            if self.flags.pop(REPLAY, None) is not None and not request.is_fork:
                raise UsageError(
                    f"run {self.past.run_id} was a replay, and does not go on", hint="add --fork, or replay it again"
                )
            self._require_files(given)
            if request.is_fork:
                self.release()
        except BaseException:
            self.release()
            raise
        self._stopped, self._request, self._words, self._given = stopped, request, words, given

    def _require_files(self, given: Mapping[str, object]) -> None:
        """Check that the files of settings that the run keeps are still there; a pipe never is.

        Raises:
            UsageError: one is not.
        """
        kept = [("--config", self.config)] if self.config is not None and _CONFIG not in given else []
        kept += [("--env-file", name) for name in self.env_files if _ENV_FILES not in given]
        kept += [("--agent-file", self.agent_file)] if self.agent_file is not None and _AGENT_FILE not in given else []
        servers = () if _SERVERS in given else self.flags.get(_SERVERS) or ()
        if isinstance(servers, (list, tuple)):  # a file of each, or JSON
            kept += [("--mcp-config", str(one)) for one in servers if not str(one).lstrip().startswith("{")]
        kept += [("--notes", name) for name in self.notes if _NOTES not in given and name != "none"]
        for flag, name in kept:
            if not Path(name).is_file():
                other = shlex.quote(Path(name).name)
                raise UsageError(
                    f"{name} is missing, which run {self.past.run_id} was started with ({flag})",
                    hint=f"name another one: agentctl run --resume {self.past.run_id} {flag} {other}",
                )

    def resumption(self, loaded: Loaded, agents: Sequence[AgentSpec] | None = None) -> Resumption:
        """Return how the run goes on; ``agents`` are those that it chooses from, None: those of the package.

        Raises:
            UsageError: there is nothing to go on with.
        """
        allowed = self._given.get("allow")
        resumption = Resumption(
            self.past.without_closing() if "max_turns" in self._given else self.past,
            spent=self._stopped.spent or PastSpending(),
            has_more_turns=self.has_more_turns,
            words=self._words,
            is_fork=self._request.is_fork,
            accepts=self._request.accepts or is_person_here(sys.stdin, sys.stderr),
            allowed=tuple(map(str, allowed)) if isinstance(allowed, (list, tuple)) else (),
            given=frozenset(self._given),
        )
        name = loaded.settings.agent or self.past.text("agent")
        agent = next((one for one in (load_agents() if agents is None else agents) if one.name == name), None)
        resumption.refuse_pointless(resumption.most_turns(loaded.settings.max_turns, agent))
        return resumption

    def keep(self, flags: Mapping[str, object]) -> dict[str, object]:
        """Return the flags that the next part keeps, given those of this one."""
        return {**flags, **({_MORE_TURNS: True} if self.has_more_turns else {})}

    def hand_on(self) -> None:
        """Leave the locked journal to the run that goes on, which closes it."""
        self.file = None

    def release(self) -> None:
        """Unlock the journal, unless it was handed on."""
        file, self.file = self.file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)


def _merged(past: PastRun, given: Mapping[str, object]) -> dict[str, object]:
    """Return the flags of the run: those of its last part, its workdir and model, and those given now."""
    flags = {**past.flags, **given}
    for name in _ADDED:
        before, now = past.flags.get(name), given.get(name)
        if isinstance(before, list) and isinstance(now, (list, tuple)):
            flags[name] = [*before, *now]
    flags.setdefault("workdir", past.text("workdir"))
    if not flags.get("workdir"):
        del flags["workdir"]
    provider, model = past.text("provider"), given.get("llm_model")
    if "llm_provider" not in given and model is None:
        flags["llm_provider"] = provider
        if named := past.text("model"):
            flags["llm_model"] = named
        else:
            flags.pop("llm_model", None)  # builtin has none
    elif model is None:
        flags.pop("llm_model", None)  # it is another provider's
    elif "llm_provider" not in given:
        flags.pop("llm_provider", None)
        if _may_offer(provider, str(model)):
            flags["llm_provider"] = provider
    return flags


def _may_offer(provider: str, model: str) -> bool:
    """Return whether a model that is named alone is to be the one of ``provider``, which the run had."""
    from agentctl.providers.catalog import load_catalog
    from agentctl.providers.routes import ROUTES
    from agentctl.settings.provider_names import HOSTS

    if provider in HOSTS:
        return True
    owners = () if "/" in model else load_catalog().owners(model, ROUTES)
    return "/" not in model and (not owners or provider in owners)


def _workdir(given: Mapping[str, object]) -> Path:
    named = given.get("workdir")
    return Path(str(named)) if named else Path.cwd()


def words_of(words: tuple[str, ...]) -> str:
    """Return the words for a run that goes on.

    Raises:
        UsageError: they are empty.
    """
    text = " ".join(words).strip()
    if words and not text:
        raise UsageError("the words for the run are empty", hint="leave them out, or say what is to be done")
    return text
