"""``agentctl providers test``: its ceiling first, a table or a document, and one exit code for all."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.command_line import KEY, Here
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Rates, WireServer
from tests.support.wire.stories import pass_trial

MINI = Rates(Decimal("0.15"), Decimal("0.60"))


@pytest.fixture
def server(wire: OpenWire, monkeypatch: pytest.MonkeyPatch) -> WireServer:
    """OpenAI, as the environment names it."""
    opened = wire(pass_trial, rates=MINI, keys=[KEY])
    monkeypatch.setenv("OPENAI_BASE_URL", opened.openai_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return opened


def test_a_good_provider_is_shown_in_a_table_after_what_it_can_cost(here: Here, server: WireServer) -> None:
    ended = here("providers", "test", "openai")
    assert (ended.code, ended.err) == (
        0,
        "5 small calls each to openai: at most $0.05 per provider, recorded in the ledger\n",
    )
    header, line = ended.out.splitlines()
    assert header.split()[:6] == ["provider", "model", "via", "reachable", "tls", "key"]
    cells = line.split()
    assert cells[:6] == ["openai", "gpt-4o-mini", "lean", "yes", "none", "accepted"]
    assert cells[6:15] == ["yes"] * 8 + ["known"]
    assert KEY not in ended.out + ended.err


def test_the_document_says_what_was_found_and_what_it_cost(
    here: Here, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITLAB_USER_LOGIN", "ann")
    monkeypatch.setenv("CI_PIPELINE_ID", "17")
    document = here("providers", "test", "openai", "--json", "--max-cost", "0.02").document
    (found,) = document["providers"]
    assert (document["schema"], document["exit_code"], document["ceiling_usd"]) == (
        "agentctl.providers-test/1",
        0,
        0.02,
    )
    assert (found["via"], found["client"], found["tls"]) == ("lean", "lean", "none")
    for name in (
        "two_tools",
        "cancels",
        "answers",
        "streams",
        "calls_tools",
        "keeps_to_clamp",
        "reports_usage",
        "price_known",
        "model_known",
    ):
        assert found[name] is True, name
    settled = sum(entry.nano for place, entry in enumerate(server.books.entries) if place != 3)  # that one is cancelled
    assert found["cost"]["nano_usd"] == settled > 0
    assert found["cost"]["in_doubt_usd"] * 10**9 >= server.books.billed_nano - settled
    (row,) = here("costs", "--last-hour", "--json", "--by", "user,ci_run").document["rows"]
    assert (row["user"], row["ci_run"], row["cost"]["nano_usd"]) == ("ann", "17", settled)


def test_both_ways_are_two_rows(here: Here, server: WireServer) -> None:
    document = here("providers", "test", "openai", "--via", "both", "--json").document
    assert [(one["provider"], one["via"], one["status"]) for one in document["providers"]] == [
        ("openai", "lean", "done"),
        ("openai", "litellm", "done"),
    ]
    free = here("providers", "test", "openai", "--free", "--via", "litellm", "--json").document
    assert [(one["via"], one["client"]) for one in free["providers"]] == [("litellm", None)]
    wrong = here("providers", "test", "openai", "--via", "neither")
    assert (wrong.code, "allowed: one of auto, lean, litellm, both" in wrong.err) == (2, True)


def test_both_ways_say_which_client_failed(here: Here, server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    ended = here("providers", "test", "openai", "--free", "--via", "both")
    assert ended.err.startswith("making only free requests to openai by both clients\n"), ended.err
    assert [ended.err.count(f"error: openai ({client}): ") for client in ("lean", "litellm")] == [1, 1], ended.err


def test_a_model_that_speaks_only_responses_is_tested_in_that_format(
    here: Here, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = wire(pass_trial, models=["gpt-5.1-codex-mini"], rates=Rates(Decimal("0.25"), Decimal(2)), keys=[KEY])
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ended = here("providers", "test", "--model", "openai/gpt-5.1-codex-mini", "--json", "--max-cost", "0.20")
    (found,) = ended.document["providers"]
    assert (ended.code, found["client"]) == (0, "litellm"), ended.err
    for name in ("answers", "streams", "calls_tools", "keeps_to_clamp", "reports_usage", "price_known"):
        assert found[name] is True, name
    assert {heard.path for heard in server.books.chat_requests} == {"/v1/responses"}


def test_free_checks_send_no_model_call(here: Here, server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here("providers", "test", "--free", "openai").code == 0
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    ended = here("providers", "test", "--free", "openai")
    assert (ended.code, "refused the key" in ended.err) == (77, True)
    assert "making only free requests" in ended.err.splitlines()[0]
    assert (server.books.chat_requests, server.books.billed_nano) == ((), 0)


def test_command_without_a_name_tests_every_provider_set_up(here: Here, server: WireServer) -> None:
    document = here("providers", "test", "--free", "--json").document
    assert [found["provider"] for found in document["providers"]] == ["ollama", "openai"]


def test_two_kinds_of_failure_are_exit_4(here: Here, server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    ended = here("providers", "test", "openai", "ollama", "--json")
    assert (ended.code, [found["status"] for found in ended.document["providers"]]) == (4, ["auth", "unavailable"])


def test_limit_that_is_too_small_is_exit_3_and_nothing_is_sent(here: Here, server: WireServer) -> None:
    ended = here("providers", "test", "openai", "--max-cost", "0.0001")
    assert (ended.code, server.books.chat_requests) == (3, ())


def test_unknown_provider_is_a_usage_error_and_builtin_passes(here: Here) -> None:
    ended = here("providers", "test", "opnai")
    assert (ended.code, 'did you mean "openai"?' in ended.err) == (2, True)
    assert here("providers", "test", "builtin").code == 0


def test_a_provider_whose_address_only_litellm_knows_is_not_called_reachable(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_MODEL", "together_ai/some/model")
    found = here("providers", "test", "--free", "--json").document["providers"][-1]
    assert (found["provider"], found["model"]) == ("together_ai", "some/model")
    assert (found["reachable"], found["key"], found["model_known"]) == (None, "unknown", None)
