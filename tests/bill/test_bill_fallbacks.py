"""Fallbacks: another provider goes on where one fails; each request has a hold of its own, under the same limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agentctl.core.errors import AuthFailed, UsageError
from agentctl.core.events import ProviderReplaced, Record
from tests.support.bill.parts import FOUR_CENTS, KEY, PAID, Here, assert_told, reaching
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Answer, Fault, Step, WireRequest
from tests.support.wire.server import Rates, WireServer

CLAUDE, LLAMA = f"anthropic/{PAID['anthropic'].model}", f"ollama/{PAID['ollama'].model}"
GPT = f"openai/{PAID['openai'].model}"
FREE_OF_CHARGE = Rates(Decimal(0), Decimal(0))
DOWN = "http://127.0.0.1:9/v1"


class Seen:
    """Keeps the takeovers that a run reports."""

    def __init__(self) -> None:
        self.events: list[ProviderReplaced] = []

    async def observe(self, record: Record) -> None:
        if isinstance(record.event, ProviderReplaced):
            self.events.append(record.event)


def environ(*servers: tuple[str, WireServer], **more: str) -> dict[str, str]:
    """Return the environment of a user of these servers, the first of which is chosen."""
    found: dict[str, str] = {}
    for format, server in reversed(servers):
        found |= reaching(server, format)
    return found | {"LLM_PROVIDER": servers[0][0]} | more


def priced(wire: OpenWire, format: str, script: Any) -> WireServer:  # noqa: ANN401
    server: WireServer = wire(script, rates=PAID[format].rates, keys=[KEY] if format != "ollama" else None, repeat=True)
    return server


FAILURES: dict[str, tuple[Step, str]] = {
    "no quota": (Fault(code="insufficient_quota"), "quota"),
    "no such model": (Fault(code="model_not_found"), "model_gone"),
    "try later, much later": (Fault(429, headers=(("retry-after", "900"),)), "rate_limited"),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", FAILURES)
async def test_a_provider_that_is_gone_or_out_of_quota_is_replaced(user: Here, wire: OpenWire, name: str) -> None:
    failure, kind = FAILURES[name]
    first, second = priced(wire, "openai", failure), priced(wire, "anthropic", PAID["anthropic"].brief)
    seen = Seen()
    user = Here(user.folder, (seen,))
    document = await user.run(
        environ(("openai", first), ("anthropic", second)), fallbacks=(CLAUDE,), max_cost_per_task="1.00"
    )
    assert (document["exit_code"], document["answer"]) == (0, "Half of it is used."), document["error"]
    (taken,) = document["fallbacks"]
    assert (taken["failed"], taken["kind"], taken["taken"]) == (GPT, kind, CLAUDE)
    assert taken["message"] == seen.events[0].message
    assert (document["provider"], document["models"]) == ("openai", [PAID["anthropic"].model])
    assert user.book.phases == ["void", "settled", "settled"]
    assert document["cost"]["nano_usd"] == second.books.billed_nano == 2 * FOUR_CENTS
    assert len(first.books.chat_requests) == 1
    assert_told(document, user.book)
    asked = [heard.asked.clamp for heard in (*first.books.chat_requests, *second.books.chat_requests) if heard.asked]
    assert asked == [one.granted_output for one in user.book.sent], "each request has a hold of its own"


async def test_a_provider_that_is_down_is_replaced_by_one_with_prices_of_its_own(user: Here, wire: OpenWire) -> None:
    second = priced(wire, "ollama", PAID["ollama"].brief)
    env = environ(("ollama", second)) | {"LLM_PROVIDER": "openai", "LLM_MODEL": PAID["openai"].model}
    env |= {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": DOWN}
    document = await user.run(env, fallbacks=(LLAMA,), max_cost_per_task="1.00")
    assert (document["exit_code"], document["answer"]) == (0, "Half of it is used."), document["error"]
    assert user.book.phases == ["void", "settled", "settled"]
    assert document["cost"]["nano_usd"] == second.books.billed_nano == 2 * FOUR_CENTS


async def test_fallbacks_are_tried_in_order_and_one_whose_key_is_rejected_gives_way(user: Here, wire: OpenWire) -> None:
    first = priced(wire, "openai", Fault(code="insufficient_quota"))
    second = wire(PAID["anthropic"].brief, keys=["sk-another"], repeat=True)
    third = priced(wire, "ollama", PAID["ollama"].brief)
    document = await user.run(
        environ(("openai", first), ("anthropic", second), ("ollama", third)) | {"LLM_MODEL": PAID["openai"].model},
        fallbacks=(CLAUDE, LLAMA),
        max_cost_per_task="1.00",
    )
    assert document["exit_code"] == 0, document["error"]
    assert [(one["failed"], one["taken"]) for one in document["fallbacks"]] == [(GPT, CLAUDE), (CLAUDE, LLAMA)]
    assert user.book.phases == ["void", "void", "settled", "settled"]


async def test_where_all_fail_the_error_is_the_first_one_and_names_the_others(user: Here, wire: OpenWire) -> None:
    first = priced(wire, "openai", Fault(code="insufficient_quota"))
    second = priced(wire, "anthropic", Fault(code="model_not_found"))
    document = await user.run(
        environ(("openai", first), ("anthropic", second)), fallbacks=(CLAUDE,), max_cost_per_task="1.00"
    )
    assert (document["exit_code"], document["error"]["kind"]) == (75, "quota")
    assert f"; fallback {CLAUDE} failed, too: " in document["error"]["message"]
    assert "fallback" not in document["error"]["hint"], "the hint is one line to follow"
    assert user.book.phases == ["void", "void"]


async def test_a_tripped_limit_is_not_paid_by_another_provider(user: Here, wire: OpenWire) -> None:
    first = priced(wire, "openai", PAID["openai"].busy)
    second = priced(wire, "anthropic", PAID["anthropic"].brief)
    document = await user.run(
        environ(("openai", first), ("anthropic", second)), fallbacks=(CLAUDE,), max_cost_per_task="0.10"
    )
    assert (document["exit_code"], document["fallbacks"]) == (3, [])
    assert second.books.chat_requests == ()


async def test_the_limits_of_the_run_hold_over_all_its_providers(user: Here, wire: OpenWire) -> None:
    """The first answers twice, then it is out of quota: the second has what is left."""
    paid = PAID["openai"]

    def twice(asked: WireRequest) -> Step:
        done = sum(said.role == "assistant" for said in asked.messages)
        return paid.busy(asked) if done < 2 else Fault(code="insufficient_quota")

    first, second = priced(wire, "openai", twice), priced(wire, "anthropic", PAID["anthropic"].busy)
    document = await user.run(
        environ(("openai", first), ("anthropic", second)), fallbacks=(CLAUDE,), max_cost_per_task="0.30"
    )
    assert document["exit_code"] == 3, document["error"]
    assert first.books.billed_nano == 2 * FOUR_CENTS
    assert 0 < first.books.billed_nano + second.books.billed_nano <= 300_000_000
    assert user.book.nano("settled") == first.books.billed_nano + second.books.billed_nano
    assert_told(document, user.book)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Fault(code="invalid_api_key"), 77),
        (Fault(code="unsupported_parameter"), 4),
        (Answer("no", stop="content_filter"), 1),
    ],
    ids=["key", "request", "refusal"],
)
async def test_what_the_user_must_mend_is_not_taken_over(user: Here, wire: OpenWire, failure: Step, code: int) -> None:
    first, second = priced(wire, "openai", failure), priced(wire, "anthropic", PAID["anthropic"].brief)
    document = await user.run(environ(("openai", first), ("anthropic", second)), fallbacks=(CLAUDE,))
    assert (document["exit_code"], document["fallbacks"]) == (code, [])
    assert second.books.chat_requests == ()


async def test_results_of_the_first_provider_s_calls_reach_the_second(user: Here, wire: OpenWire) -> None:
    """The tools run once; the second provider reads what they returned, without the first one's signed thoughts."""
    paid = PAID["anthropic"]

    def once(asked: WireRequest) -> Step:
        looked = any(said.role == "tool" for said in asked.messages)
        return Fault(429, headers=(("retry-after", "900"),)) if looked else paid.busy(asked)

    first, second = priced(wire, "anthropic", once), priced(wire, "openai", PAID["openai"].brief)
    document = await user.run(
        environ(("anthropic", first), ("openai", second)), fallbacks=(GPT,), max_cost_per_task="1.00"
    )
    assert (document["exit_code"], document["answer"]) == (0, "Half of it is used."), document["error"]
    (asked,) = [heard.asked for heard in second.books.chat_requests if heard.asked is not None]
    assert [said.role for said in asked.messages][-2:] == ["assistant", "tool"]
    assert [tool["calls"] for tool in document["tools"]] == [1]


async def test_a_failure_of_the_server_is_retried_before_another_takes_over(user: Here, wire: OpenWire) -> None:
    first = wire([Fault(503), PAID["openai"].brief, Fault(503)], rates=PAID["openai"].rates, repeat=True)
    second = priced(wire, "anthropic", PAID["anthropic"].brief)
    document = await user.run(
        environ(("openai", first), ("anthropic", second)), fallbacks=(CLAUDE,), max_cost_per_task="2.00"
    )
    assert document["exit_code"] == 0, document["error"]
    assert [one["taken"] for one in document["fallbacks"]] == [CLAUDE]
    assert len(first.books.chat_requests) > 3, "it has been tried again"
    assert document["cost"]["nano_usd"] == first.books.billed_nano + second.books.billed_nano


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("opnai/gpt-4o", 'there is no provider opnai; did you mean "openai"?', "agentctl models gpt-4o"),
        ("builtin", "builtin is not a language model and cannot be a fallback", "name another model: --fallbacks "),
        ("no-such-model-x1", "no-such-model-x1", ""),
        ("azure", "has no default model", "agentctl models azure"),
    ],
)
async def test_a_wrong_name_is_an_error_before_anything_is_sent(
    user: Here, wire: OpenWire, name: str, said: str, hint: str
) -> None:
    server = priced(wire, "openai", PAID["openai"].brief)
    with pytest.raises(UsageError, match=f"fallback {name}: .*") as caught:
        await user.run(environ(("openai", server)), fallbacks=(name,))
    assert said in caught.value.message
    assert caught.value.hint.startswith(hint)
    assert server.books.chat_requests == ()


async def test_a_fallback_without_a_price_is_an_error_under_a_dollar_limit(user: Here, wire: OpenWire) -> None:
    server = priced(wire, "openai", PAID["openai"].brief)
    with pytest.raises(UsageError, match="fallback anthropic/claude-of-mine: "):
        await user.run(
            environ(("openai", server)) | {"ANTHROPIC_API_KEY": KEY},
            fallbacks=("anthropic/claude-of-mine",),
            max_cost_per_task="1.00",
        )


def test_screen_and_document_say_who_took_over_and_who_cannot(wire: OpenWire, agentctl: Commands) -> None:
    first = priced(wire, "openai", Fault(code="insufficient_quota"))
    second = wire(Answer("Half of it is used."), rates=FREE_OF_CHARGE, repeat=True)
    env = environ(("openai", first), ("ollama", second)) | {"LLM_MODEL": PAID["openai"].model}
    env["LLM_FALLBACKS"] = f"mistral/mistral-small-latest, {LLAMA}, {GPT}"
    ended = agentctl("run", "--json", "How much memory is used?", **env)
    assert ended.code == 0, ended.err
    assert "fallback mistral/mistral-small-latest cannot be used: " in ended.err
    assert "agentctl providers set-key mistral" in ended.err
    assert f"{GPT} failed (" in ended.err
    assert f"): continuing with {LLAMA}" in ended.err
    assert [one["taken"] for one in ended.document["fallbacks"]] == [LLAMA]
    off = agentctl("run", "--fallbacks", "none", "How much memory is used?", **env)
    assert off.code == 75
    assert "fallback" not in off.err


def test_toml_names_fallbacks_and_a_model_on_the_command_line_keeps_them(wire: OpenWire, agentctl: Commands) -> None:
    first = priced(wire, "openai", Fault(code="insufficient_quota"))
    second = wire(Answer("Half of it is used."), rates=FREE_OF_CHARGE, repeat=True)
    env = environ(("openai", first), ("ollama", second))
    del env["LLM_PROVIDER"], env["LLM_MODEL"]
    assert agentctl("config", "set", "fallbacks", LLAMA).code == 0
    ended = agentctl("run", "-m", GPT, "How much memory is used?", **env)
    assert (ended.code, ended.out) == (0, "Half of it is used.\n"), ended.err
    assert LLAMA in agentctl("config", "get", "fallbacks").out


async def test_missing_keys_of_fallbacks_alone_do_not_stop_a_run(user: Here, wire: OpenWire) -> None:
    server = priced(wire, "openai", PAID["openai"].brief)
    document = await user.run(environ(("openai", server)), fallbacks=("groq/llama-3.3-70b-versatile",))
    assert document["exit_code"] == 0
    assert document["fallbacks"] == []
    with pytest.raises(AuthFailed):
        await user.run({"LLM_PROVIDER": "groq", "LLM_MODEL": "llama-3.3-70b-versatile"})


def test_estimate_doctor_and_journal_show_the_fallbacks(wire: OpenWire, agentctl: Commands) -> None:
    first = priced(wire, "openai", Fault(code="insufficient_quota"))
    second = wire(Answer("Half of it is used."), rates=FREE_OF_CHARGE, repeat=True)
    env = environ(("openai", first), ("ollama", second)) | {"LLM_MODEL": PAID["openai"].model}
    env["LLM_FALLBACKS"] = f"groq/llama-3.3-70b-versatile,{LLAMA}"
    told = agentctl("run", "--estimate", "How much memory is used?", **env)
    assert f"{LLAMA}: free" in told.out
    assert "warning: fallback groq/llama-3.3-70b-versatile cannot be used: " in told.err
    asked = agentctl("run", "--estimate", "--json", "How much memory is used?", **env).document
    assert [(one["provider"], one["model"]) for one in asked["fallbacks"]] == [("ollama", PAID["ollama"].model)]
    assert first.books.chat_requests == second.books.chat_requests == ()
    found = agentctl("doctor", **env).out
    assert f"if openai fails: {LLAMA}" in found
    assert "groq/llama-3.3-70b-versatile: provider groq" in found
    wrong = agentctl("doctor", **env | {"LLM_FALLBACKS": "opnai/gpt-4o"})
    assert "there is no provider opnai" in wrong.out
    assert "`run` would not start" in wrong.out
    assert agentctl("run", "How much memory is used?", **env).code == 0
    assert f"; {LLAMA} took over" in agentctl("runs", "show", **env).out
    lines = agentctl("run", "-o", "jsonl", "How much memory is used?", **env).lines
    (event,) = [line for line in lines if line["event"] == "provider_replaced"]
    assert (event["failed"], event["provider"], event["model"]) == (GPT, "ollama", PAID["ollama"].model)


def test_untrusted_files_of_a_project_name_no_fallbacks(wire: OpenWire, agentctl: Commands) -> None:
    first = priced(wire, "openai", Fault(code="insufficient_quota"))
    second = priced(wire, "anthropic", PAID["anthropic"].brief)
    (agentctl.folder / ".agentctl.toml").write_text(f'fallbacks = ["{CLAUDE}"]\n')
    ended = agentctl("run", "How much memory is used?", **environ(("openai", first), ("anthropic", second)))
    assert ended.code == 75
    assert second.books.chat_requests == ()
