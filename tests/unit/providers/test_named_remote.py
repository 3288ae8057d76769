"""A provider of the user's own on the wire: its key, its window, its prices, and what its server has."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from agentctl.core.errors import ModelGone
from agentctl.providers.catalog import load_catalog
from agentctl.providers.factory import create_llm_provider
from agentctl.providers.probe import probe_provider, served_models, served_window
from agentctl.providers.remote import RemoteProvider
from agentctl.settings import Settings
from agentctl.settings.named_providers import named_providers
from agentctl.settings.parsers import secret
from tests.support.formats import answer_of, asked
from tests.support.probe_host import Host, page
from tests.support.wire.local_servers import TRAINED, LocalServer
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, WireServer

OTHERS = {
    "OPENAI_API_KEY": "sk-openai-0123456789ab",
    "OPENAI_ORGANIZATION": "org-secret-0123456789",
    "OPENAI_PROJECT": "proj-secret-0123456789",
    "ANTHROPIC_API_KEY": "sk-ant-0123456789abcdef",
    "OLLAMA_API_KEY": "sk-ollama-0123456789ab",
}
KEY = "sk-lab-0123456789abcdef"
LOCAL: tuple[LocalServer, ...] = ("llama.cpp", "vllm", "lm_studio")


def provider_at(url: str, *, key: str | None = None, model: str = "qwen1.5b", **line: object) -> RemoteProvider:
    """Return the provider ``lab`` at an address."""
    lab = named_providers({"lab": {"base_url": url, "price": 0, **line}})["lab"]
    settings = Settings(providers={"lab": lab._replace(key=None if key is None else secret(key))})
    provider = create_llm_provider("lab", model, settings=settings)
    assert isinstance(provider, RemoteProvider)
    return provider


@pytest.mark.parametrize("kind", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("key", [None, KEY])
async def test_only_its_own_key_is_sent(
    wire: OpenWire, monkeypatch: pytest.MonkeyPatch, kind: str, key: str | None
) -> None:
    for name, value in OTHERS.items():
        monkeypatch.setenv(name, value)
    server = wire(Answer("Hello."), repeat=True)
    provider = provider_at(server.openai_url if kind == "openai" else server.url, kind=kind, key=key)
    await provider.prepare()
    text, _ = await answer_of(provider, asked())
    await provider.aclose()
    assert text == "Hello."
    (heard,) = server.books.chat_requests
    header = "x-api-key" if kind == "anthropic" else "authorization"
    held = {None: None, KEY: KEY if kind == "anthropic" else f"Bearer {KEY}"}[key]
    assert heard.headers.get(header) == held
    for each in server.books.requests:
        assert not [value for value in OTHERS.values() if value in json.dumps(dict(each.headers))], each.path


async def test_a_password_in_its_address_is_sent_and_no_key(wire: OpenWire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OTHERS["OPENAI_API_KEY"])
    server = wire(Answer("Hello."), repeat=True)
    provider = provider_at(server.openai_url.replace("//", "//me:pa%21ss@"))
    await answer_of(provider, asked())
    await provider.aclose()
    assert server.books.chat_requests[0].headers["authorization"] == "Basic bWU6cGEhc3M="
    assert provider.facts.base_url == server.openai_url


async def test_a_server_of_the_users_own_gets_no_service_tier(wire: OpenWire) -> None:
    server = wire(Answer("Hello."), repeat=True)
    provider = provider_at(server.openai_url)
    await answer_of(provider, asked())
    await provider.aclose()
    (heard,) = server.books.chat_requests
    assert heard.body is not None
    assert ("service_tier" in heard.body, heard.body["model"]) == (False, "qwen1.5b")


@pytest.mark.parametrize("like", LOCAL)
async def test_its_window_is_asked_and_used(wire: OpenWire, like: LocalServer) -> None:
    server = wire(Answer("Hello."), repeat=True, like=like, models=["qwen1.5b"], context_length=4_096)
    provider = provider_at(server.openai_url)
    assert provider.facts.context_window is None
    await provider.prepare()
    assert provider.facts.context_window == 4_096
    before = len(server.books.requests)
    await provider.prepare()
    assert len(server.books.requests) == before, "it is asked once"


async def test_a_window_in_the_table_or_in_the_catalogue_is_not_asked(wire: OpenWire) -> None:
    server = wire(Answer("Hello."), repeat=True, like="vllm", context_length=4_096)
    lab = provider_at(server.openai_url, context_window=2_048, output_ceiling=512)
    known = create_llm_provider("openai", "gpt-4o", base_url=server.openai_url, settings=Settings())
    for provider in (lab, known):
        await provider.prepare()
    assert (lab.facts.context_window, lab.facts.output_ceiling) == (2_048, 512)
    assert known.facts.context_window == 128_000
    assert server.books.requests == ()


async def test_the_window_of_a_server_at_openais_base_url_is_asked(wire: OpenWire) -> None:
    server = wire(Answer("Hello."), repeat=True, like="llama.cpp", context_length=4_096)
    provider = create_llm_provider("openai", "qwen1.5b", base_url=server.openai_url, settings=Settings())
    await provider.prepare()
    assert provider.facts.context_window == 4_096


async def test_an_ollama_of_the_users_own_opens_no_longer_window_than_its_training(wire: OpenWire) -> None:
    server = wire(Answer("ok"), context_length=2_048, repeat=True)
    provider = provider_at(server.url, kind="ollama", model="tinyllama")
    await provider.prepare()
    await answer_of(provider, asked())
    await provider.aclose()
    assert (server.books.chat_requests[0].body or {})["options"]["num_ctx"] == 2_048
    assert (provider.facts.provider, provider.facts.context_window) == ("lab", 2_048)


ROWS = {
    "a gateway's": ({"id": "m", "context_length": 8_192}, 8_192),
    "groq's": ({"id": "m", "context_window": 8_192}, 8_192),
    "the other row of two": ({"id": "m"}, None),
    "not a number": ({"id": "m", "max_model_len": "many"}, None),
    "a truth value": ({"id": "m", "max_model_len": True}, None),
    "nothing": ({"id": "m", "max_model_len": 0}, None),
    "beyond belief": ({"id": "m", "max_model_len": 10**12}, None),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_window_is_believed_only_as_a_count_of_that_model(name: str) -> None:
    row, window = ROWS[name]
    other = {"id": "other", "max_model_len": 1_024}
    with Host({"/v1/models": page({"object": "list", "data": [other, row]})}) as host:
        assert served_window("openai", f"{host.url}/v1", None, "m", patience_s=60) == window


def test_the_trained_length_counts_where_a_llama_does_not_say_what_it_opened() -> None:
    row = {"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx_train": TRAINED}}
    with Host({"/v1/models": page({"object": "list", "data": [row]})}) as host:
        assert served_window("openai", f"{host.url}/v1", None, "any", patience_s=60) == TRAINED
        assert host.lines == ["GET /v1/models", "GET /props"]


def test_a_server_that_is_away_or_no_server_of_models_has_no_window() -> None:
    assert served_window("openai", "http://127.0.0.1:9/v1", None, "m") is None
    assert served_models("openai", "http://127.0.0.1:9/v1", None) is None
    with Host({"/v1/models": page([1, None, {"id": 3}])}) as host:
        assert served_window("openai", f"{host.url}/v1", None, "m", patience_s=60) is None
        assert served_models("openai", f"{host.url}/v1", None, patience_s=60) == ()


@pytest.mark.parametrize(
    ("like", "models", "hint"),
    [
        ("vllm", ["qwen1.5b"], "it has: qwen1.5b   (add --model lab/qwen1.5b)"),
        ("lm_studio", ["a", "b"], "it has: a, b"),
        ("lm_studio", ["qwen1.5a", "b"], "it has: b, qwen1.5a   (add --model lab/qwen1.5a)"),
        ("vllm", ["$(id)"], "it has: $(id)   (add --model 'lab/$(id)')"),
        ("vllm", list("abcdefg"), "it has: a, b, c, d, e, … (7 in all)"),
    ],
)
async def test_a_wrong_name_is_answered_with_what_the_server_has(
    wire: OpenWire, like: LocalServer, models: list[str], hint: str
) -> None:
    server = wire(Answer("Hello."), repeat=True, like=like, models=models)
    provider = provider_at(server.openai_url, model="qwen1.5x")
    with pytest.raises(ModelGone) as caught:
        await answer_of(provider, asked())
    await provider.aclose()
    assert (caught.value.hint, caught.value.billed) == (hint, "no")


async def test_a_wrong_name_at_an_ollama_names_what_it_has_and_how_to_pull(wire: OpenWire) -> None:
    server = wire(Answer("Hello."), repeat=True, models=["llama3.1"])
    provider = create_llm_provider("ollama", "qwen3", base_url=server.url, settings=Settings())
    with pytest.raises(ModelGone) as caught:
        await answer_of(provider, asked())  # type: ignore[arg-type]
    await provider.aclose()
    assert caught.value.hint == (
        "it has: llama3.1:latest   (add --model ollama/llama3.1:latest, or: ollama pull qwen3)"
    )


async def test_an_ollama_of_the_users_own_keeps_to_the_ceiling_of_its_table(wire: OpenWire) -> None:
    server = wire(Answer("ok"), context_length=2_048, repeat=True)
    provider = provider_at(server.url, kind="ollama", model="tinyllama", output_ceiling=300)
    await provider.prepare()
    assert (provider.facts.context_window, provider.facts.output_ceiling) == (2_048, 300)


@pytest.mark.parametrize("line", [{}, {"context_window": 1_024}])
@pytest.mark.parametrize(("can", "temperature"), [(("tools",), 0), (("tools", "thinking"), None)])
async def test_an_ollama_model_that_thinks_by_its_capabilities_gets_no_temperature(
    wire: OpenWire, line: dict[str, Any], can: tuple[str, ...], temperature: int | None
) -> None:
    server = wire(Answer("ok"), repeat=True, capabilities=("completion", *can))
    provider = provider_at(server.url, kind="ollama", model="newest", **line)
    await provider.prepare()
    await answer_of(provider, asked())
    await provider.aclose()
    (heard,) = server.books.chat_requests
    assert heard.body is not None
    assert heard.body["options"].get("temperature") == temperature


async def test_openai_itself_is_never_asked_for_its_list(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = create_llm_provider("openai", "gpt-no-such", api_key=KEY, settings=Settings())
    assert isinstance(provider, RemoteProvider)
    assert provider._error_context().served() == ""
    assert not provider._is_window_unknown


def test_its_price_holds_for_every_model_and_a_line_of_its_own_first() -> None:
    lab = named_providers({"lab": {"base_url": "http://h/v1", "price": {"input": 1, "output": 2}}})["lab"]
    assert lab.price is not None
    lines = {
        "lab/*": lab.price,
        "lab/dear": lab.price._replace(input=Decimal(9)),
        "qwen": lab.price._replace(input=Decimal(5)),
    }
    catalog = load_catalog(lines)
    inputs = {model: catalog.facts("lab", model).price.input for model in ("qwen", "dear", "gpt-4o")}  # type: ignore[union-attr]
    assert inputs == {"qwen": 1, "dear": 9, "gpt-4o": 1}
    assert catalog.facts("lab", "gpt-4o").context_window is None, "it is another model of that name"
    assert load_catalog({}).price_of("lab", "gpt-4o") is None


@pytest.mark.parametrize(
    ("url", "model", "is_free"),
    [
        ("http://127.0.0.1:11434", "llama3.1", True),
        ("http://10.0.0.5:11434", "llama3.1", False),
        ("http://127.0.0.1:11434", "gpt-oss:120b-cloud", False),
    ],
)
def test_an_ollama_on_this_host_is_free_under_any_name(url: str, model: str, is_free: bool) -> None:
    lab = named_providers({"lab": {"base_url": url, "kind": "ollama"}})["lab"]
    facts = create_llm_provider("lab", model, settings=Settings(providers={"lab": lab})).facts
    assert (facts.price is not None and facts.price.is_free) == is_free


@pytest.mark.parametrize("like", LOCAL)
def test_probe_says_what_a_local_server_has(wire: OpenWire, like: LocalServer) -> None:
    server: WireServer = wire(like=like, models=["qwen1.5b"], keys=[KEY], context_length=4_096)

    def probe(model: str) -> tuple[bool | None, str, int | None, str]:
        found = probe_provider("lab", server.openai_url, KEY, model, kind="openai", window=True, patience_s=60)
        assert (found.key, found.models) == ("accepted", ("qwen1.5b",))
        return found.model_known, found.status, found.context_window, found.error

    assert probe("qwen1.5b") == (True, "done", 4_096, "")
    known, status, _, error = probe("nope")
    if like == "vllm":  # it refuses what it does not list; the others may answer
        assert (known, status) == (False, "model_gone")
        assert error.endswith("does not know the model nope: it has: qwen1.5b   (add --model lab/qwen1.5b)")
    else:
        assert (known, status, error) == (None, "done", "")
