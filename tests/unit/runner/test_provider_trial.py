"""A provider is tested by three paid calls under a limit of its own; its faults are named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from anyio import to_thread

from agentctl.core.errors import ReaderGone
from agentctl.core.limits import CostLimit, Parent
from agentctl.ledger import SqliteLedger
from agentctl.ledger.report import costs_window
from agentctl.providers.factory import OpenAIProvider, create_llm_provider
from agentctl.providers.probe import ProbeResult
from agentctl.providers.routes import Via
from agentctl.runner.provider_trial import (
    CALLS,
    ModelTestResult,
    ProviderTestResult,
    ProviderUnderTest,
    overall_status,
    run_model_test,
    run_provider_tests,
)
from agentctl.settings import load_settings
from tests.support.formats import FORMATS, KEY, MODELS, Wire, provider_at
from tests.support.wire.server import Answer, Fault, Rates, WireRequest, WireServer
from tests.support.wire.stories import pass_trial

LIMITS = CostLimit(max_cost_per_task=Decimal("0.05"), max_tokens_per_task=30_000)
formats = pytest.mark.parametrize("format", FORMATS)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    book = SqliteLedger(tmp_path / "ledger.db")
    yield book
    await book.aclose()


def without(**change: object) -> Callable[[WireRequest], Answer]:
    """Do what is asked, but for one thing."""

    def mind(asked: WireRequest) -> Answer:
        return replace(pass_trial(asked), **change)  # type: ignore[arg-type]

    return mind


def settled_nano(server: WireServer) -> int:
    """Return what the server billed, without the answer that the test breaks off: the fourth of five."""
    return sum(entry.nano for place, entry in enumerate(server.books.entries) if place % CALLS != 3)


@formats
async def test_a_good_provider_passes_and_costs_what_the_server_billed(
    wire: Wire, ledger: SqliteLedger, format: str
) -> None:
    rates = Rates(Decimal("2.5"), Decimal(10)) if format == "openai" else Rates(Decimal(1), Decimal(5))
    server = wire(pass_trial, rates=Rates(Decimal(0), Decimal(0)) if format == "ollama" else rates, keys=[KEY])
    provider = provider_at(server, format)
    found = await run_model_test(provider, ledger, run_id="r1", limits=LIMITS)
    await provider.aclose()
    assert replace(found, ms=None) == ModelTestResult(
        provider=format,
        model=MODELS[format],
        answers=True,
        streams=True,
        calls_tools=True,
        two_tools=True,
        cancels=True,
        keeps_to_clamp=True,
        reports_usage=True,
        price_known=True,
        cost_nano=settled_nano(server),
        in_doubt_nano=found.in_doubt_nano,
        client="lean",
    )
    assert (found.cost_nano or 0) + (found.in_doubt_nano or 0) >= server.books.billed_nano
    assert await to_thread.run_sync(server.books.wait, lambda books: len(books.hung_up) == 1)
    assert found.ms is not None
    assert len(server.books.chat_requests) == CALLS


async def test_spending_of_a_test_is_in_the_ledger(wire: Wire, ledger: SqliteLedger, tmp_path: Path) -> None:
    server = wire(pass_trial, rates=Rates(Decimal("2.5"), Decimal(10)))
    provider = provider_at(server, "openai")
    await run_model_test(provider, ledger, run_id="r1", limits=LIMITS)
    await provider.aclose()
    report = costs_window(tmp_path / "ledger.db", seconds=3600)
    assert (report.total_nano, report.rows[0].agent) == (settled_nano(server), "providers test")


async def test_trial_inside_a_run_spends_its_limit_and_asks_nothing_once_it_has_ended(
    wire: Wire, ledger: SqliteLedger
) -> None:
    server = wire(pass_trial, rates=Rates(Decimal("2.5"), Decimal(10)))
    provider, parent = provider_at(server, "openai"), Parent("outer", "secret")
    await ledger.open_run("outer", LIMITS, task="t", agent="a", labels={}, capability="secret")
    await run_model_test(provider, ledger, run_id="r1", limits=LIMITS, parent=parent)
    assert (await ledger.spend("outer")).run_nano.spent == settled_nano(server) > 0
    await ledger.close_run("outer", "done")
    asked = len(server.books.chat_requests)
    found = await run_model_test(provider, ledger, run_id="r2", limits=LIMITS, parent=parent)
    await provider.aclose()
    assert (found.status, "run outer" in found.error) == ("denied", True)
    assert len(server.books.chat_requests) == asked


async def test_trial_whose_reader_has_left_sends_no_further_call(
    wire: Wire, ledger: SqliteLedger, tmp_path: Path
) -> None:
    server = wire(pass_trial, rates=Rates(Decimal("2.5"), Decimal(10)))
    provider = provider_at(server, "openai")

    def check() -> None:
        if server.books.chat_requests:
            raise ReaderGone("nobody reads stdout any more")

    found = await run_model_test(provider, ledger, run_id="r1", limits=LIMITS, check_call=check)
    await provider.aclose()
    assert (found.status, len(server.books.chat_requests)) == ("reader_gone", 1)
    assert (found.cost_nano, found.in_doubt_nano) == (server.books.billed_nano, 0)
    assert costs_window(tmp_path / "ledger.db", seconds=3600).total_nano == server.books.billed_nano


async def test_a_dearer_model_that_answers_is_charged_at_its_own_price(wire: Wire, ledger: SqliteLedger) -> None:
    server = wire(without(model="gpt-4o"), rates=Rates(Decimal("2.5"), Decimal(10)))
    provider = provider_at(server, "openai", model="gpt-4o-mini")
    found = await run_model_test(provider, ledger, run_id="r1", limits=LIMITS)
    await provider.aclose()
    assert found.cost_nano == settled_nano(server)


WRONG = {
    "no tool": (lambda asked: Answer("seven"), "calls_tools", "called no tool"),
    "no usage": (without(usage="omit"), "reports_usage", "reports no usage"),
    "empty": (without(text=""), "answers", "empty answer"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
async def test_behaviour_that_an_agent_cannot_work_with_is_named(wire: Wire, ledger: SqliteLedger, case: str) -> None:
    mind, field, said = WRONG[case]
    provider = provider_at(wire(mind), "openai")
    found = await run_model_test(provider, ledger, run_id="r1", limits=LIMITS)
    await provider.aclose()
    assert getattr(found, field) is False
    assert (found.status, said in found.error) == ("unavailable", True)
    assert found.hint


async def test_a_server_that_ignores_the_clamp_is_found_out(wire: Wire, ledger: SqliteLedger) -> None:
    provider = provider_at(wire(without(obeys=False)), "openai")
    found = await run_model_test(provider, ledger, run_id="r1", limits=LIMITS)
    await provider.aclose()
    assert found.keeps_to_clamp is False
    assert found.status in ("budget", "unavailable")


async def test_expensive_model_is_not_tested_beyond_the_limit(wire: Wire, ledger: SqliteLedger) -> None:
    server = wire(pass_trial)
    provider = provider_at(server, "openai")
    found = await run_model_test(provider, ledger, run_id="r1", limits=CostLimit(max_cost_per_task=Decimal("0.0001")))
    await provider.aclose()
    assert (found.status, found.answers, len(server.books.chat_requests)) == ("budget", None, 0)


FAULTS = {"auth": Fault(401), "rate_limited": Fault(429), "unavailable": Fault(500), "model_gone": Fault(404)}


@pytest.mark.parametrize("status", FAULTS)
async def test_a_failure_has_the_status_that_a_run_would_have(wire: Wire, ledger: SqliteLedger, status: str) -> None:
    provider = provider_at(wire(FAULTS[status]), "openai")
    found = await run_model_test(provider, ledger, run_id="r1", limits=LIMITS)
    await provider.aclose()
    assert (found.status, found.answers) == (status, None)


def patient(server: WireServer, key: str = KEY, model: str = "gpt-4o") -> ProviderUnderTest:
    environ = {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": server.openai_url}
    settings = load_settings(flags={}, environ=environ, remember=False).settings
    return ProviderUnderTest(
        "openai", model, server.openai_url, key, lambda: create_llm_provider("openai", model, settings=settings)
    )


async def test_providers_are_tested_in_parallel_and_a_rejected_key_costs_nothing(
    wire: Wire, ledger: SqliteLedger
) -> None:
    fine, locked = wire(pass_trial, keys=[KEY]), wire(pass_trial, keys=["another"])
    ids = iter(("a", "b"))
    found = await run_provider_tests([patient(fine), patient(locked)], ledger, limits=LIMITS, new_id=lambda: next(ids))
    assert [finding.status for finding in found] == ["done", "auth"]
    assert (len(fine.books.chat_requests), len(locked.books.chat_requests)) == (CALLS, 0)
    assert overall_status(found) == "auth"


async def test_free_checks_alone_cost_nothing(wire: Wire) -> None:
    server = wire(pass_trial, keys=[KEY])
    (found,) = await run_provider_tests([patient(server)], None, limits=LIMITS, new_id=lambda: "a")
    assert (found.status, found.model_test, found.reach.key) == ("done", None, "accepted")
    assert (server.books.chat_requests, server.books.billed_nano) == ((), 0)


def test_status_is_that_of_the_only_kind_of_failure_or_unavailable() -> None:
    blank = ProbeResult("openai", "", True, "accepted", None, (), 1.0, "", "done")

    def found(*statuses: str) -> list[ProviderTestResult]:
        return [ProviderTestResult(blank._replace(status=status), "m") for status in statuses]

    assert overall_status(found("done", "done")) == "done"
    assert overall_status(found("done", "auth", "auth")) == "auth"
    assert overall_status(found("auth", "rate_limited", "done")) == "unavailable"


async def test_a_model_that_calls_one_tool_at_a_time_passes_and_is_told(wire: Wire, ledger: SqliteLedger) -> None:
    def one(asked: WireRequest) -> Answer:
        answer = pass_trial(asked)
        return replace(answer, calls=answer.calls[:1])

    provider = provider_at(wire(one), "openai")
    found = await run_model_test(provider, ledger, run_id="r1", limits=LIMITS)
    await provider.aclose()
    assert (found.status, found.calls_tools, found.two_tools) == ("done", True, False)


async def test_an_answer_that_is_over_at_once_cannot_be_broken_off(wire: Wire, ledger: SqliteLedger) -> None:
    def brief(asked: WireRequest) -> Answer:
        return pass_trial(asked) if asked.tools else Answer("12", output_tokens=4)

    provider = provider_at(wire(brief), "openai")
    found = await run_model_test(provider, ledger, run_id="r1", limits=LIMITS)
    await provider.aclose()
    assert found.cancels in (None, True)
    assert found.status == "done"


@pytest.mark.parametrize("via", ["lean", "litellm"])
async def test_both_clients_are_green(wire: Wire, ledger: SqliteLedger, via: Via) -> None:
    server = wire(pass_trial)
    provider = OpenAIProvider("gpt-4o-mini", api_key=KEY, base_url=server.openai_url, via=via)
    found = await run_model_test(provider, ledger, run_id="r1", limits=LIMITS)
    await provider.aclose()
    assert (found.status, found.client, found.two_tools, found.cancels) == ("done", via, True, True)
