"""``agentctl providers test``: free requests first, then five small paid calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.options import Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.documents import Document
    from agentctl.runner.provider_trial import ProviderTestResult, ProviderUnderTest
    from agentctl.settings import Loaded

SCHEMA = "agentctl.providers-test/1"
TOKENS = 30_000
_CLIENTS = ("auto", "lean", "litellm", "both")
MOST_LISTED = 100  # of a server's own models, in JSON
_HEADER = (
    *("provider", "model", "via", "reachable", "tls", "key", "model known", "answers", "streams", "tools"),
    *("two at once", "cancel", "clamp", "usage", "price", "ms", "cost"),
)
_DROP = {
    **{"ms": 10, "price": 9, "usage": 8, "clamp": 7, "cancel": 6, "two at once": 5, "tls": 4, "streams": 3},
    **{"model known": 2, "via": 1},
}


def try_providers(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Providers to test (default: all that are set up).")
    ] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="NAME", help="Test this model, or provider/model.")
    ] = None,
    free: Annotated[bool, typer.Option("--free", help="Make only free requests: reachable, key, model.")] = False,
    via: Annotated[
        str | None,
        typer.Option("--via", metavar="CLIENT", help="Call by this client: auto, lean, litellm or both."),
    ] = None,
    max_cost: Annotated[
        str, typer.Option("--max-cost-per-task", metavar="USD", help="Cost limit for each provider (alias --max-cost).")
    ] = "0.05",
    output: Output = None,
    json: Json = False,
) -> None:
    """Test providers: reachability, TLS, key, model; without --free also answers, tools, cancel, usage.

    Examples:
        agentctl providers test --free
        agentctl providers test openai --via both
        agentctl providers test --free --model openai/gpt-4o-mini
    """
    from agentctl.cli.error_output import print_error, print_stderr
    from agentctl.cli.exit_codes import status_named
    from agentctl.core.errors import UsageError
    from agentctl.core.text import safe_text
    from agentctl.runner.provider_trial import overall_status, providers_under_test
    from agentctl.settings import load_settings

    as_json = wants_json(output, json=json)
    needs = () if free else ("report", "prices", "max_cost_per_task", "max_cost_per_hour")
    given = [name.strip().lower() for name in names or ()]
    if via is not None and via.strip().lower() not in _CLIENTS:
        raise UsageError(safe_text(f'--via cannot be "{via}"; allowed: one of {", ".join(_CLIENTS)}'))
    both_ways = via is not None and via.strip().lower() == "both"
    flags = {"max_cost_per_task": max_cost, "llm_model": model, "llm_client": None if both_ways else via}
    if model is not None and given:
        if len(given) > 1:
            raise UsageError("--model is for one provider", hint=f"agentctl providers test {given[0]} --model {model}")
        flags["llm_provider"] = given[0]
    loaded = load_settings(flags=flags, remember=False, needs=needs)
    for note in loaded.notes:
        print_stderr(safe_text(note))
    tested = [_provider_name(name, loaded) for name in given]
    under_test = providers_under_test(loaded, tested, model_named=model is not None, both_ways=both_ways)
    print_stderr(_ceiling(under_test, loaded, free=free))
    results = _run_tests(under_test, loaded, free=free)
    status = overall_status(results)
    if as_json:
        _print(results, loaded, free=free, status=status)
    else:
        print(_table(results))
        for result in results:
            error, hint = _error_of(result)
            if note := _note_on_name(result):
                print_stderr(safe_text(note))
            if error:
                who = result.reach.provider
                said = error.removeprefix(who) if error.startswith(who) else f": {error}"
                print_error(f"{who} ({result.via}){said}" if both_ways and result.via else f"{who}{said}", hint)
            if result.model_test is not None and result.model_test.unknown:
                unknown = ", ".join(result.model_test.unknown)
                print_stderr(safe_text(f"{result.reach.provider} sent what agentctl does not know: {unknown}"))
    raise typer.Exit(status_named(status).value)


def _provider_name(word: str, loaded: Loaded) -> str:
    from agentctl.core.errors import UsageError
    from agentctl.core.text import safe_text
    from agentctl.settings import KNOWN_PROVIDERS, OTHER_PROVIDERS
    from agentctl.settings.provider_names import nearest_provider

    own = tuple(loaded.settings.providers)
    if word in (*own, *KNOWN_PROVIDERS, *OTHER_PROVIDERS) or loaded.is_wrong(f"provider {word}"):
        return word
    known = f"known providers: {', '.join((*own, *KNOWN_PROVIDERS))}"
    raise UsageError(safe_text(f'unknown provider "{word}"'), hint=nearest_provider(word, own=own) or known)


def _ceiling(under_test: Sequence[ProviderUnderTest], loaded: Loaded, *, free: bool) -> str:
    """Return a line about the maximum cost of the test, to print before anything is sent."""
    from agentctl.cli.ui.format import ceiling
    from agentctl.core.pricing import to_nano
    from agentctl.runner.provider_trial import CALLS

    names = list(dict.fromkeys(each.provider for each in under_test))
    who = f"{', '.join(names)}{' by both clients' if len(names) < len(under_test) else ''}"
    if free:
        return f"making only free requests to {who}"
    limit = loaded.settings.max_cost_per_task
    if limit is None:
        return f"{CALLS} small calls each to {who}; no cost limit"
    each = to_nano(limit)
    per = "each" if len(names) < len(under_test) else "per provider"
    whole = f" ({ceiling(each * len(under_test))} for {len(under_test)})" if len(under_test) > 1 else ""
    return f"{CALLS} small calls each to {who}: at most {ceiling(each)} {per}{whole}, recorded in the ledger"


def _run_tests(
    under_test: Sequence[ProviderUnderTest], loaded: Loaded, *, free: bool
) -> tuple[ProviderTestResult, ...]:
    import os

    import anyio

    from agentctl.cli.signals import run_cancellable
    from agentctl.cli.streams import require_reader
    from agentctl.core.limits import CostLimit
    from agentctl.ledger.sqlite import make_ledger
    from agentctl.runner.lease_terms import scope_above
    from agentctl.runner.provider_trial import run_provider_tests

    above = None
    if not free:
        above = scope_above(loaded)
        require_reader()
    settings = loaded.settings
    limits = CostLimit(
        max_cost_per_task=settings.max_cost_per_task,
        max_cost_per_hour=settings.max_cost_per_hour,
        max_tokens_per_task=TOKENS,
    )

    async def all_of_them() -> tuple[ProviderTestResult, ...]:
        ledger = None if free else make_ledger(settings.ledger_address, loaded.initiator)
        try:
            new_id = lambda: os.urandom(6).hex()  # noqa: E731
            return await run_provider_tests(
                under_test, ledger, limits=limits, new_id=new_id, parent=above, check_call=require_reader
            )
        finally:
            if ledger is not None:
                with anyio.CancelScope(shield=True):
                    await ledger.aclose()

    return run_cancellable(all_of_them)


def _error_of(result: ProviderTestResult) -> tuple[str, str]:
    if result.reach.error or result.model_test is None:
        return result.reach.error, ""
    return result.model_test.error, result.model_test.hint


def _note_on_name(result: ProviderTestResult) -> str:
    """Return a note on a model that the server does not list and does not refuse, else ""."""
    from agentctl.core.text import list_names

    there = result.reach
    if there.model_known is not None or not there.models or result.model is None:
        return ""
    return f"{there.provider} does not list {result.model}; it has: {list_names(there.models)}"


def _table(results: Sequence[ProviderTestResult]) -> str:
    from agentctl.cli.ui.columns import Column, stdout_page

    head = [
        Column(head, "name" if head == "model" else "whole", _DROP.get(head, 0), head in ("ms", "cost"))
        for head in _HEADER
    ]
    return stdout_page().table(head, map(_cells, results))


def _cells(result: ProviderTestResult) -> tuple[str, ...]:
    from agentctl.cli.ui.format import money

    there, tried = result.reach, result.model_test
    via = (None if tried is None else tried.client) or result.via or "-"
    first = (there.provider, via, _word(there.reachable), there.tls or "-", there.key, _word(there.model_known))
    if tried is None:
        return (first[0], result.model or "-", *first[1:], *["-"] * 8, f"{there.ms:.0f}", "$0")
    found = (
        *(tried.answers, tried.streams, tried.calls_tools, tried.two_tools, tried.cancels),
        *(tried.keeps_to_clamp, tried.reports_usage),
    )
    cost = "unknown" if tried.cost_nano is None else money(tried.cost_nano)
    if tried.in_doubt_nano:
        cost += f" + {money(tried.in_doubt_nano)} in doubt"
    ms = there.ms if tried.ms is None else tried.ms
    return (
        *(first[0], result.model or "-", *first[1:], *map(_word, found)),
        *("known" if tried.price_known else "unknown", f"{ms:.0f}", cost),
    )


def _word(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def _print(results: Sequence[ProviderTestResult], loaded: Loaded, *, free: bool, status: str) -> None:
    from agentctl.cli.documents import as_json, usd
    from agentctl.cli.exit_codes import status_named
    from agentctl.core.pricing import to_nano
    from agentctl.core.version import __version__

    limit = loaded.settings.max_cost_per_task
    each = 0 if free else None if limit is None else to_nano(limit)
    document: Document = {
        "schema": SCHEMA,
        "version": __version__,
        "status": status_named(status).shown,
        "exit_code": status_named(status).value,
        "free": free,
        "ceiling_usd": usd(None if each is None else each * len(results)),
        "providers": [_entry(result) for result in results],
        "error": None,
    }
    print(as_json(document))


def _entry(result: ProviderTestResult) -> Document:
    from agentctl.cli.documents import usd

    there, tried = result.reach, result.model_test
    error, hint = _error_of(result)
    names = (
        "answers",
        "streams",
        "calls_tools",
        "two_tools",
        "cancels",
        "keeps_to_clamp",
        "reports_usage",
        "price_known",
    )
    paid: Document = {name: None if tried is None else getattr(tried, name) for name in names}
    cost, doubt = (0, 0) if tried is None else (tried.cost_nano, tried.in_doubt_nano)
    return {
        "provider": there.provider,
        "model": result.model,
        "base_url": there.base_url,
        "status": result.status,
        "via": (None if tried is None else tried.client) or result.via or None,
        "reachable": there.reachable,
        "tls": there.tls or None,
        "key": there.key,
        "model_known": there.model_known,
        "models": list(there.models[:MOST_LISTED]),
        "context_window": there.context_window,
        **paid,
        "ms": None if tried is None or tried.ms is None else round(tried.ms, 3),
        "reach_ms": round(there.ms, 3),
        "cost": {"usd": usd(cost), "nano_usd": cost, "in_doubt_usd": usd(doubt)},
        "client": None if tried is None else tried.client,
        "unknown": [] if tried is None else list(tried.unknown),
        "error": {"message": error, "hint": hint} if error else None,
    }
