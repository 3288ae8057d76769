"""``agentctl providers list``, the Ollama that a run finds by itself, and the help on both."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from agentctl.settings import KNOWN_PROVIDERS
from tests.support.command_line import KEY, Here, row
from tests.support.probe_host import Host, page

ONE_MODEL = page({"models": [{"name": "qwen3:4b", "capabilities": ["completion", "tools"]}]})


def test_providers_list_has_a_row_for_each_and_marks_the_one_a_run_would_use(here: Here) -> None:
    ended = here("providers", "list")
    assert (ended.code, ended.err) == (0, "")
    table, _, below = ended.out.rstrip().rpartition("\n\n")
    prices, last = below.splitlines()
    header, *rows = table.splitlines()
    titles = ("provider", "key", "model", "via", "context", "in/M", "out/M", "price", "from", "address")
    assert tuple(header.split()) == titles
    assert [line[3:].split()[0] for line in rows] == list(KNOWN_PROVIDERS)
    assert [line[3:].split()[0] for line in rows if line.startswith("*")] == ["builtin"]
    assert re.fullmatch(r"prices in dollars per million tokens; litellm \S+, \d+ days old; yours: .*", prices)
    assert last == "* a run would use builtin (no key); Ollama was not asked for its models, a run asks"


def test_providers_list_shows_key_address_model_and_price(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:hidden@proxy.example/v1")
    ended = here("providers", "ls")
    line = next(line for line in ended.out.splitlines() if " openai " in line)
    assert line.startswith("*  openai      sk-…7890    gpt-4o-mini            (default)  ")
    assert line.endswith("  ***@proxy.example/v1")
    assert "$0.15" in line
    assert ended.out.endswith("\n* a run would use openai (key OPENAI_API_KEY)\n")
    document = here("providers", "list", "--json").document
    assert (document["schema"], document["error"]) == ("agentctl.providers/1", None)
    assert document["chosen"] == {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "chosen_by": "key OPENAI_API_KEY",
    }
    found = row(document, "openai")
    assert found["key"] == {
        "needed": True,
        "name": "OPENAI_API_KEY",
        "masked": "sk-…7890",
        "from": "environment OPENAI_API_KEY",
    }
    price = found["price"]
    assert isinstance(price, dict)
    assert (price["input_usd_per_million"], price["output_usd_per_million"]) == (0.15, 0.6)
    assert (found["chosen"], found["official_endpoint"], found["model_is_default"]) == (True, False, True)
    assert str(found["price_from"]).startswith("litellm ")
    for text in (ended.out, json.dumps(document)):
        assert "not-to-be-seen" not in text
        assert "hidden" not in text


def test_providers_list_shows_the_model_that_was_chosen_and_the_users_price(
    here: Here, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.mkdir()
    (config / "config.toml").write_text('[prices]\n"openai/mine" = { input = 0.5, output = 0 }\n')
    monkeypatch.setenv("LLM_MODEL", "openai/mine")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = row(here("providers", "list", "-o", "json").document, "openai")
    assert (found["model"], found["model_is_default"], found["price_from"]) == ("mine", False, "config.toml")
    line = next(line for line in here("providers", "list").out.splitlines() if " openai " in line)
    assert line.split()[-7:-1] == ["mine", found["client"], "-", "$0.50", "$0", "config.toml"]


def test_providers_list_says_why_a_run_would_not_start(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    ended = here("providers", "list")
    assert ended.code == 0
    assert "*" not in ended.out
    assert ended.err.startswith("error: a run would not start: both OPENAI_API_KEY and ANTHROPIC_API_KEY are set")
    document = here("providers", "list", "--json").document
    assert (document["chosen"], document["nobody_because"]["kind"]) == (None, "usage")


def test_model_that_does_not_chat_does_not_hide_other_rows(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_MODEL", "openai/text-embedding-3-small")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ended = here("providers", "list")
    assert (ended.code, len(ended.out.splitlines())) == (0, len(KNOWN_PROVIDERS) + 4)
    assert "is not a chat model" in ended.err


def test_a_run_finds_the_only_model_of_an_ollama_on_this_host(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    with Host({"/api/tags": ONE_MODEL}) as host:
        monkeypatch.setenv("OLLAMA_HOST", host.url)
        ended = here("run", "count them", "--json", script="answer")
        assert ended.document["provider_chosen_by"] == "Ollama on this host, its only model"
        assert here("config", "check", "--json").document["provider"] == (
            "ollama/qwen3:4b (Ollama on this host, its only model)"
        )
        assert host.lines == ["GET /api/tags"] * 2


def test_ollama_is_not_asked_when_something_else_decides(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    with Host({"/api/tags": ONE_MODEL}) as host:
        monkeypatch.setenv("OLLAMA_HOST", host.url)
        assert here("run", "--provider", "builtin", "How much memory is used?").code == 0
        monkeypatch.setenv("CI", "true")
        assert here("config", "check").code == 77
        assert here("providers", "list").code == 0
        assert host.heard == []


def test_first_line_says_when_there_is_no_ollama(here: Here) -> None:
    assert here("run", "How much memory is used?").err.splitlines()[0] == "builtin · no key, no server"


def test_help_setup_shows_each_set_up_in_few_lines(here: Here) -> None:
    text = here("help", "setup").out
    for line in (
        "ollama pull llama3.1",
        "agentctl run --provider ollama",
        "agentctl providers set-key openai",
        "agentctl providers set-key anthropic",
        "export OPENAI_BASE_URL=http://127.0.0.1:8000/v1",
        "agentctl config set 'prices.\"openai/my-model\"' input=0 output=0",
        "agentctl run --model openai/my-model",
        "agentctl providers list",
    ):
        assert f"\n{line}" in text
    assert max(map(len, text.splitlines())) <= 120
