"""Answer the calls of a host of `agentctl mcp serve`: run a task, and say what the server's runs have cost and done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import anyio.to_thread

from agentctl.cli.documents import as_json, in_unit, moment, redact_document, run_document
from agentctl.cli.mcp.served_arguments import RunsShowArguments, RunTaskArguments, read_arguments, served_tools
from agentctl.cli.mcp.served_runs import ServedRuns, ServeTerms, load
from agentctl.core.errors import AgentctlError, UsageError
from agentctl.core.results import RunResult
from agentctl.core.text import did_you_mean, safe_text

Document = Mapping[str, Any]


class ServedResult(NamedTuple):
    """What a host gets: a document, and of a call that failed the sentence that says why."""

    document: Document | None
    error: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The same as texts, the sentence first."""
        document = () if self.document is None else (as_json(self.document, line=True),)
        return (self.error, *document) if self.error else document


class ServedTools:
    """The tools of a server whose runs are ``runs``."""

    def __init__(self, terms: ServeTerms, runs: ServedRuns) -> None:
        self._terms, self._runs = terms, runs
        self.specs = served_tools(is_cost_required=terms.default_max_cost is None)

    async def call(self, name: str, given: Mapping[str, Any]) -> ServedResult:
        """Return the result of one call; an error is a result too."""
        try:
            return await self._answer(name, given)
        except AgentctlError as error:
            return ServedResult(None, _sentence(error.message, error.hint))

    async def _answer(self, name: str, given: Mapping[str, Any]) -> ServedResult:
        specs = {spec.name: spec for spec in self.specs}
        if name not in specs:
            raise UsageError(
                safe_text(f'no tool "{name[:80]}"'), hint=did_you_mean(name, specs) or f"tools: {', '.join(specs)}"
            )
        match read_arguments(specs[name], given):
            case RunTaskArguments() as call:
                result, secrets = await self._runs.run(call)
                return _result(result, redact_document(run_document(result), secrets))
            case RunsShowArguments(run_id=run_id):
                return ServedResult(await anyio.to_thread.run_sync(self._show, run_id))
            case _ if name == "costs":
                return ServedResult(await anyio.to_thread.run_sync(self._costs))
            case _:
                return ServedResult(await self._budget())

    def _show(self, run_id: str | None) -> Document:
        """Return the records of a run of this server: those of other runs are none of the host's business.

        Raises:
            UsageError: there is no such run, or several.
        """
        from agentctl.cli.runs.run_parts import records_document
        from agentctl.journal.reader import find_journal, read_run

        known = self._runs.run_ids
        found = [one for one in known if one.startswith(run_id.lower())] if run_id else list(known[-1:])
        if len(found) != 1:
            said = f"{len(found)} runs" if found else "no run"
            raise UsageError(
                f"{said} of this server {'begin' if found else 'begins'} with {safe_text(run_id or '')!r}",
                hint=f"its runs: {', '.join(known[-10:]) or 'none has ended yet'}",
            )
        loaded = load(self._terms)
        path = find_journal(loaded.settings.runs_dir, found[0])
        return redact_document(
            records_document(read_run(path), path.stem, loaded.settings.ledger_address), loaded.secrets
        )

    def _costs(self) -> Document:
        from agentctl.cli.costs.document import costs_document
        from agentctl.ledger.report import CostQuery, costs_report

        query = CostQuery(run=self._runs.scope.parent.run_id)
        report = costs_report(load(self._terms).settings.ledger_address, query)
        return dict(costs_document(report, query, statuses=(), gate=None))

    async def _budget(self) -> Document:
        """Return what is left of the server's own limit, and of the limits of all runs on this machine."""
        from agentctl.core.limits import WINDOWS
        from agentctl.core.pricing import to_nano

        scope = self._runs.scope
        settings = (await anyio.to_thread.run_sync(load, self._terms)).settings
        spend = await scope.ledger.spend(
            scope.parent.run_id, tuple(name for name in WINDOWS if name != "max_cost_per_hour")
        )
        limits = {}
        for name in WINDOWS:
            if (ceiling := getattr(settings, name)) is not None:
                used, most = spend.of(name).total, to_nano(ceiling)
                limits[name] = {
                    "limit": in_unit(most, "nano_usd"),
                    "used": in_unit(used, "nano_usd"),
                    "left": in_unit(max(0, most - used), "nano_usd"),
                }
        return {"server": await scope.used(), "limits": limits}


def _result(result: RunResult, document: Document) -> ServedResult:
    """Return a run as a host gets it: one that was denied a change is an answer, any other failure is an error."""
    if result.error is None or result.status == "denied":
        return ServedResult(document)
    breaker = result.breaker
    said = document["error"]["message"]
    if breaker is not None:
        free = moment(breaker.free_at)
        said = f"{said}; {f'free at {free}' if free else 'this limit does not get free'}"
    return ServedResult(document, _sentence(said, document["error"]["hint"]))


def _sentence(message: str, hint: str | None) -> str:
    return safe_text(f"{message}\nhint: {hint}" if hint else message)
