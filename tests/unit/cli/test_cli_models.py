"""``agentctl models``: what can be called, with window, prices and key; read from the price table alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.settings import KNOWN_PROVIDERS
from tests.support.command_line import KEY, Ended, Here
from tests.support.probe_host import Host, page

NOTE = "Responses API"


def entries(ended: Ended) -> list[dict[str, object]]:
    found = ended.document["models"]
    assert isinstance(found, list)
    return found


def test_models_lists_window_prices_and_key(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    ended = here("models", "/claude-sonnet-4-5")
    header, first, *_ = ended.out.splitlines()
    assert header.split() == ["provider", "model", "key", "context", "output", "in/M", "out/M", "note"]
    assert first.split() == ["anthropic", "claude-sonnet-4-5", "yes", "200,000", "64,000", "$3", "$15"]
    assert (ended.code, ended.err) == (0, "")
    assert "prices in dollars per million tokens; litellm " in ended.out.splitlines()[-1]


def test_models_as_json_has_a_document_for_each(here: Here) -> None:
    ended = here("models", "openai/gpt-4o-mini", "--json")
    found = next(entry for entry in entries(ended) if entry["name"] == "openai/gpt-4o-mini")
    assert (ended.document["schema"], ended.document["error"]) == ("agentctl.models/1", None)
    assert found["key"] == {"needed": True, "name": "OPENAI_API_KEY", "set": False}
    assert (found["provider"], found["model"], found["default"]) == ("openai", "gpt-4o-mini", True)
    assert (found["context_window"], found["output_ceiling"]) == (128_000, 16_384)
    assert (found["unbounded"], found["problem"]) == (None, None)
    price = found["price"]
    assert isinstance(price, dict)
    assert (price["input_usd_per_million"], price["output_usd_per_million"]) == (0.15, 0.6)


def test_models_that_speak_only_responses_are_listed_as_such(here: Here) -> None:
    line = here("models", "openai/o3-pro").out.splitlines()[1]
    assert line.split() == ["openai", "o3-pro", "no", "200,000", "100,000", "$20", "$80", *NOTE.split()]
    found = {str(one["name"]): one for one in entries(here("models", "openai/o3*", "--json"))}
    assert (found["openai/o3-pro"]["format"], found["openai/o3-pro"]["problem"]) == ("responses", None)
    assert found["openai/o3"]["format"] is None


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["GPT-4O-MINI", "openai/gpt", "07"], ["openai/gpt-4o-mini-2024-07-18"]),
        (["list", "deepseek/deepseek-fl*"], ["deepseek/deepseek-flash"]),
        (["show", "claude-sonnet-4-?"], ["anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-6"]),
    ],
)
def test_a_pattern_is_part_of_a_name_or_a_glob(here: Here, words: list[str], names: list[str]) -> None:
    assert [entry["name"] for entry in entries(here("models", *words, "--json"))] == names


def test_without_a_pattern_the_known_providers_are_listed_those_with_a_key_first(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    monkeypatch.setenv("CEREBRAS_API_KEY", KEY)
    ended = here("models", "--json")
    providers = list(dict.fromkeys(str(entry["provider"]) for entry in entries(ended)))
    assert providers[:2] == ["mistral", "cerebras"]
    assert set(providers) <= {*KNOWN_PROVIDERS, "cerebras"}
    assert "more models of other providers: agentctl models --all" in ended.err
    assert len(entries(here("models", "--all", "--json"))) > 3 * len(entries(ended))
    assert here("models", "ls").out == here("models").out


def test_a_pattern_that_fits_nothing_says_so_with_the_nearest(here: Here) -> None:
    ended = here("models", "claude-sonet-4-5")
    said = 'no model matches "claude-sonet-4-5"; did you mean "claude-sonnet-4-5"?\n'
    assert (ended.code, ended.out, ended.err) == (0, "", said)
    assert entries(here("models", "zzz", "--json")) == []
    for word, near in (("sonet", "sonnet"), ("gpt4o", "gpt-4o"), ("opneai/gpt-4o", "openai/gpt-4o")):
        assert here("models", word).err == f'no model matches "{word}"; did you mean "{near}"?\n'


def test_search_alone_is_a_pattern_since_it_is_in_names_of_models(here: Here) -> None:
    found = [entry["model"] for entry in entries(here("models", "search", "--json"))]
    assert found
    assert all("search" in str(model) for model in found)
    assert here("models", "search", "gpt-4o").out == here("models", "gpt-4o").out


def test_models_of_the_users_own_lines_and_server_are_listed(
    here: Here, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.mkdir(exist_ok=True)
    (config / "config.toml").write_text('[prices."openai/my-model"]\ninput = 0\noutput = 0\n', encoding="utf-8")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    (found,) = entries(here("models", "my-model", "--json"))
    assert found["key"] == {"needed": False, "name": None, "set": False}
    assert "openai    my-model  not needed" in here("models", "my-model").out


def test_the_ollama_on_this_host_is_asked_for_its_models(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    with Host({"/api/tags": page({"models": [{"name": "qwen3:4b", "capabilities": ["tools"]}]})}) as host:
        monkeypatch.setenv("OLLAMA_HOST", host.url)
        (found,) = entries(here("models", "ollama/", "--json"))
    assert (found["name"], found["key"]) == ("ollama/qwen3:4b", {"needed": False, "name": None, "set": False})
    price = found["price"]
    assert isinstance(price, dict)
    assert price["input_usd_per_million"] == 0
