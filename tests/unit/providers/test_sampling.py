"""The temperature of requests: which one goes to which model, on the wire, and what a refusal of it changes."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from agentctl.core.errors import ParameterRefused, Rejected, UsageError
from agentctl.core.events import CallRetried
from agentctl.core.pricing import ModelFacts
from agentctl.ledger import SqliteLedger
from agentctl.providers.factory import create_llm_provider
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.sampling import Sampling
from agentctl.runner.assemble import assemble
from agentctl.settings import ProviderChoice, Settings, load_settings
from tests.support.bill.book import book_of
from tests.support.economy import looking, run_of, tools
from tests.support.formats import FORMATS, KEY, Wire, answer_of, asked, open_provider
from tests.support.wire.script import Json
from tests.support.wire.server import Answer, Fault, WireServer

HERE, CLOUD = "http://127.0.0.1:8080/v1", "https://api.openai.com/v1"
OPENAI_SAYS = (
    b'{"error": {"message": "Unsupported value: \'temperature\' does not support 0 with this model. Only the default '
    b'(1) value is supported.", "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value"}}'
)
RANGE = (
    b'{"error": {"message": "temperature: Input should be less than or equal to 1", "type": "invalid_request_error"}}'
)
formats = pytest.mark.parametrize("format", FORMATS)


def temperatures(server: WireServer) -> list[object]:
    """Return the temperature of each request, "absent" where it has none."""
    bodies: list[Json] = [json.loads(heard.raw) for heard in server.books.chat_requests]
    return [{**body, **body.get("options", {})}.get("temperature", "absent") for body in bodies]


def chosen(model: str, *, temperature: object = "auto", url: str = HERE, reasoning: bool = False) -> object:
    facts = ModelFacts("openai", model, reasoning=reasoning)
    return Sampling(temperature).options(facts, url).get("temperature", "absent")


@formats
@pytest.mark.parametrize(("temperature", "sent"), [("auto", 0), ("none", "absent"), (0.7, 0.7), ("2", 2), (0, 0)])
async def test_server_on_this_host_gets_zero_unless_told_otherwise(
    wire: Wire, format: str, temperature: object, sent: object
) -> None:
    server = wire(Answer("ok"))
    async with open_provider(server, format) as provider:
        provider.sampling = Sampling(temperature)
        await answer_of(provider, asked())
    assert temperatures(server) == [sent]


@pytest.mark.parametrize("url", [CLOUD, "", "https://127.0.0.1.example.com/v1", "http://10.0.0.7:8080"])
def test_provider_elsewhere_gets_none_unless_it_is_set(url: str) -> None:
    assert chosen("llama3.1", url=url) == "absent"
    assert chosen("llama3.1", url=url, temperature=0.2) == 0.2


@pytest.mark.parametrize("url", [HERE, "http://localhost:11434", "http://[::1]:8080", "http://127.0.0.9"])
def test_loopback_in_any_spelling_is_this_host(url: str) -> None:
    assert chosen("llama3.1", url=url) == 0.0


def test_cloud_model_behind_an_ollama_on_this_host_gets_none() -> None:
    assert (chosen("kimi-k2:1t-cloud"), chosen("kimi-k2:1t")) == ("absent", 0.0)


@pytest.mark.parametrize(
    "model",
    [
        "deepseek-r1:8b", "qwq:32b", "qwen3:8b", "Qwen3-8B-Q4_K_M.gguf", "hf.co/unsloth/Qwen3-4B-Thinking-2507:Q4",
        "magistral:24b", "gpt-oss:20b", "phi4-mini-reasoning", "o3-mini", "openai/gpt-5-mini", "claude-opus-4-7",
    ],
)  # fmt: skip
def test_models_that_think_get_none_on_this_host_either(model: str) -> None:
    assert chosen(model) == "absent"


@pytest.mark.parametrize(
    "model",
    ["llama3.1:latest", "qwen1.5b", "qwen2.5-coder:1.5b", "qwen3-coder:30b", "qwen3-4b-instruct-2507", "gpt-4o",
     "gpt-5-chat-latest", "mistral-small", "phi4", "gemma3", "claude-haiku-4-5", "granite4", "foo3"],
)  # fmt: skip
def test_models_that_do_not_think_get_zero_on_this_host(model: str) -> None:
    assert chosen(model) == 0.0


def test_model_that_reasons_by_the_price_table_gets_none() -> None:
    assert (chosen("x", reasoning=True), chosen("x", reasoning=True, temperature=0.6)) == ("absent", 0.6)


@pytest.mark.parametrize(
    "model", ["o1", "o3-mini", "o4-mini-2025", "gpt-5", "openai/gpt-5.1-mini", "anthropic/claude-opus-4.7"]
)
def test_temperature_of_the_users_own_is_not_sent_to_a_model_that_refuses_any(model: str) -> None:
    assert chosen(model, temperature=0.2, url=CLOUD) == "absent"
    assert Sampling(0.2).note(model).startswith(f"{model} takes no temperature: 0.2 is not sent")
    assert (Sampling("auto").note(model), Sampling(0.2).note("gpt-4o"), Sampling("none").note(model)) == ("", "", "")


@formats
async def test_refused_temperature_is_left_out_from_the_next_attempt_on(
    wire: Wire, tmp_path: Path, format: str
) -> None:
    server = wire([Fault(400, body=OPENAI_SAYS), looking(2), looking(2), looking(2)])
    ledger = SqliteLedger(tmp_path / "ledger.db")
    async with open_provider(server, format) as provider:
        result, diary = await run_of(ledger, provider, tools(1), retries=1)
    await ledger.aclose()
    assert (result.status, result.turns) == ("done", 3)
    assert temperatures(server) == [0, "absent", "absent", "absent"]
    (retried,) = diary.of(CallRetried)
    assert "temperature" in retried.reason
    assert retried.reason.endswith("sending no temperature from here on")
    phases = [one.phase for one in book_of(tmp_path).attempts]
    assert phases == ["void", "settled", "settled", "settled"], "the refusal was free, and nothing is in doubt"


@formats
async def test_refusal_of_anything_else_is_final(wire: Wire, format: str) -> None:
    server = wire([Fault(400), Answer("never")])
    async with open_provider(server, format) as provider:
        with pytest.raises(Rejected) as caught:
            await answer_of(provider, asked())
    assert (type(caught.value), caught.value.retryable) == (Rejected, False)


async def test_value_outside_a_providers_range_is_an_error_that_names_the_setting(wire: Wire) -> None:
    server = wire([Fault(400, body=RANGE), Answer("never")])
    async with open_provider(server, "anthropic") as provider:
        provider.sampling = Sampling(1.5)
        with pytest.raises(Rejected) as caught:
            await answer_of(provider, asked())
    assert not isinstance(caught.value, ParameterRefused)
    assert "less than or equal to 1" in caught.value.message
    assert caught.value.hint == "set a temperature that it takes, or send none: --temperature none"
    assert provider.sampling.options(replace(provider.facts), server.url) == {"temperature": 1.5}


async def test_words_about_a_temperature_that_was_not_sent_change_nothing(wire: Wire) -> None:
    server = wire([Fault(400, body=OPENAI_SAYS), Answer("never")])
    async with open_provider(server, "openai") as provider:
        provider.sampling = Sampling("none")
        with pytest.raises(Rejected) as caught:
            await answer_of(provider, asked())
    assert type(caught.value) is Rejected


def test_provider_made_by_name_has_the_settings_temperature_or_the_arguments() -> None:
    settings = Settings(temperature=Decimal("0.4"), openai_api_key=SecretStr(KEY))
    made = create_llm_provider("openai", "gpt-4o", settings=settings)
    own = create_llm_provider("ollama", "llama3.1", settings=settings, temperature=0)
    assert isinstance(made, RemoteProvider)
    assert isinstance(own, RemoteProvider)
    assert [str(one.sampling.temperature) for one in (made, own)] == ["0.4", "0"]
    with pytest.raises(UsageError, match=r'temperature cannot be "3"; allowed: a number from 0 to 2'):
        create_llm_provider("openai", "gpt-4o", settings=settings, temperature=3)


def test_run_warns_that_a_temperature_is_not_sent(tmp_path: Path) -> None:
    environ = {f"AGENTCTL_{kind}_DIR": str(tmp_path / kind) for kind in ("STATE", "CONFIG", "CACHE")}
    loaded = load_settings(flags={}, environ=environ, cwd=tmp_path, remember=False)
    provider, said = RemoteProvider("openai", "o3", api_key=KEY), list[str]()
    provider.sampling = Sampling("0.2")
    assemble(loaded, ProviderChoice("openai", "o3", "flag"), provider=provider, warn=said.append)
    assert said == ["o3 takes no temperature: 0.2 is not sent (--temperature none says so)"]


@pytest.mark.parametrize(
    ("flags", "variable", "found"), [({"temperature": "0.3"}, "1", "0.3"), ({}, "1", "1"), ({}, "", "auto")]
)
def test_flag_precedes_the_variable_and_an_empty_one_is_unset(
    tmp_path: Path, flags: dict[str, object], variable: str, found: str
) -> None:
    loaded = load_settings(
        flags=flags, environ={"AGENTCTL_TEMPERATURE": variable}, cwd=tmp_path, remember=False, needs=("model",)
    )
    assert str(loaded.settings.temperature) == found


def test_file_of_a_strange_folder_sets_no_temperature(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AGENTCTL_TEMPERATURE=2\n")
    environ = {f"AGENTCTL_{kind}_DIR": str(tmp_path / "own" / kind) for kind in ("STATE", "CONFIG", "CACHE")}
    assert load_settings(flags={}, environ=environ, cwd=tmp_path, remember=False).settings.temperature == "auto"
