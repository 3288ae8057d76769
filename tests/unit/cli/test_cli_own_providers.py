"""A provider of the user's own on the command line: from its table to the bill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Here, row
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault, WireServer
from tests.support.wire.stories import pass_trial

KEY = "sk-lab-0123456789abcdef"
OPENAI_KEY = "sk-openai-0123456789ab"
Define = Callable[..., None]


@pytest.fixture
def define(config: Path, monkeypatch: pytest.MonkeyPatch) -> Define:
    """Write ``[providers.lab]`` with these lines into the user's config.toml."""
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)

    def write(server: WireServer, *lines: str, name: str = "lab", before: str = "") -> None:
        config.mkdir(parents=True, exist_ok=True)
        head = [before, f"[providers.{name}]", f'base_url = "{server.openai_url}"']
        (config / "config.toml").write_text("\n".join([*head, *lines, ""]))

    return write


@pytest.fixture
def vllm(wire: OpenWire) -> WireServer:
    """A server with one model, like vLLM."""
    return wire(Answer("There are two."), repeat=True, like="vllm", models=["qwen1.5b"], context_length=4_096)


def test_run_at_a_free_server_costs_nothing_and_is_named_everywhere(
    here: Here, define: Define, vllm: WireServer
) -> None:
    define(vllm, "price = 0")
    document = here("run", "--model", "lab/qwen1.5b", "--json", "Greet me").document
    assert (document["exit_code"], document["answer"]) == (0, "There are two.")
    assert (document["provider"], document["model"], document["provider_chosen_by"]) == ("lab", "qwen1.5b", "flag")
    assert document["cost"] == {"usd": 0.0, "nano_usd": 0, "in_doubt_usd": 0.0, "price_source": "config.toml"}
    assert document["limits"]["max_tokens_per_task"]["used"] > 0, "tokens count in any case"
    rows = here("costs", "--by", "provider", "--json").document["rows"]
    assert [(found["provider"], found["calls"]) for found in rows] == [("lab", 1)]
    sent = [json.dumps(dict(heard.headers)) for heard in vllm.books.requests]
    assert not any(OPENAI_KEY in headers for headers in sent)


def test_its_window_limits_what_is_sent(here: Here, define: Define, vllm: WireServer) -> None:
    define(vllm, "price = 0", 'model = "qwen1.5b"')
    ended = here("run", "--provider", "lab", "Greet me")
    assert (ended.code, ended.out) == (0, "There are two.\n")
    assert "the window of qwen1.5b is 4,096 tokens: at most 3,840 are sent" in ended.err


def test_its_price_is_held_and_charged(here: Here, define: Define, wire: OpenWire) -> None:
    server = wire(Answer("There are two.", input_tokens=1_000, output_tokens=100), repeat=True, like="vllm")
    define(server, "price = { input = 10, output = 100 }", 'model = "qwen1.5b"')
    document = here("run", "--provider", "lab", "--json", "Greet me").document
    assert document["cost"]["nano_usd"] == 1_000 * 10_000 + 100 * 100_000
    ended = here("run", "--provider", "lab", "--json", "--max-cost", "0.000001", "Greet me")
    assert (ended.code, ended.document["breaker"]["limit"]) == (3, "max_cost_per_task")
    assert len(server.books.chat_requests) == 1, "what could cost more is not sent"


def test_without_a_price_a_dollar_limit_refuses_with_the_line_to_paste(
    here: Here, define: Define, vllm: WireServer
) -> None:
    define(vllm, 'model = "qwen1.5b"')
    error = here("run", "--provider", "lab", "--json", "Greet me").document["error"]
    assert (error["kind"], error["message"]) == (
        "unknown_price",
        "the price of lab/qwen1.5b is unknown, and a dollar limit is set",
    )
    assert error["hint"].startswith("if it is free: agentctl config set providers.lab.price 0   Otherwise")
    assert here("config", "set", "providers.lab.price", "0").code == 0
    assert here("run", "--provider", "lab", "Greet me").code == 0


def test_a_free_call_that_fails_has_no_unknown_cost(here: Here, define: Define, wire: OpenWire) -> None:
    server = wire([Answer("Half of it", cut_at="middle"), Answer("Whole.")], like="vllm")
    define(server, "price = 0", 'model = "qwen1.5b"')
    ended = here("run", "--provider", "lab", "Greet me")
    assert (ended.code, ended.out) == (0, "Whole.\n")
    assert "warning: a free call failed (" in ended.err
    assert "tokens count against the limit" in ended.err
    assert "the cost of a call is unknown" not in ended.err


def test_a_call_of_a_known_price_that_fails_is_still_of_unknown_cost(
    here: Here, define: Define, wire: OpenWire
) -> None:
    server = wire([Answer("Half of it", cut_at="middle"), Answer("Whole.")], like="vllm")
    define(server, "price = { input = 1, output = 1 }", 'model = "qwen1.5b"')
    assert "warning: the cost of a call is unknown (" in here("run", "--provider", "lab", "Greet me").err


def test_list_and_reprice_know_that_an_ollama_here_is_free_under_any_name(
    here: Here, config: Path, wire: OpenWire
) -> None:
    server = wire(Answer("There are two."), repeat=True)
    config.mkdir(parents=True, exist_ok=True)
    (config / "config.toml").write_text(f'[providers.den]\nkind = "ollama"\nbase_url = "{server.url}"\n')
    assert here("run", "--model", "den/tinyllama", "Greet me").code == 0
    assert row(here("providers", "list", "--json").document, "den")["price_from"] == "declared free"
    (found,) = here("ledger", "reprice", "--since", "1h", "--json").document["rows"]
    assert (found["calls"], found["repriced_usd"]) == (1, 0)
    as_if = here("ledger", "reprice", "--since", "1h", "--model", "den/other", "--json")
    assert (as_if.code, as_if.document["total"]["calls"]) == (0, 1)


def test_its_health_is_its_own(here: Here, define: Define, wire: OpenWire) -> None:
    server = wire(Fault(500, bills=True), repeat=True)
    define(server, "price = { input = 1, output = 1 }", 'model = "qwen1.5b"')
    assert here("run", "--provider", "lab", "--timeout", "3s", "Greet me").code in (4, 124)
    rows = here("ledger", "check", "--json")
    assert rows.code == 0
    well = wire(Answer("There are two."), repeat=True)
    define(well, "price = { input = 1, output = 1 }", 'model = "qwen1.5b"', name="box")
    ended = here("run", "--provider", "box", "Greet me")
    assert (ended.code, "waiting" in ended.err) == (0, False)


def test_a_wrong_name_is_exit_69_with_what_the_server_has(here: Here, define: Define, vllm: WireServer) -> None:
    define(vllm, "price = 0")
    ended = here("run", "--model", "lab/nope", "Greet me")
    assert ended.code == 69
    assert "hint: it has: qwen1.5b   (add --model lab/qwen1.5b)" in ended.err


def test_without_a_model_its_only_one_answers_and_of_two_the_user_chooses(
    here: Here, define: Define, vllm: WireServer, wire: OpenWire
) -> None:
    define(vllm, "price = 0")
    assert here("run", "--provider", "lab", "--json", "Greet me").document["model"] == "qwen1.5b"
    define(wire(like="vllm", models=["a", "b"]), "price = 0")
    ended = here("run", "--provider", "lab", "Greet me")
    assert (ended.code, "it has: a, b; add --model lab/a" in ended.err) == (2, True)


def test_a_key_that_its_table_names_is_needed_saved_and_sent(
    here: Here, define: Define, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = wire(Answer("There are two."), repeat=True, like="vllm", models=["m"], keys=[KEY])
    define(server, "price = 0", 'api_key_env = "MY_LAB_KEY"', 'model = "m"')
    ended = here("run", "--provider", "lab", "Greet me")
    assert (ended.code, "agentctl providers set-key lab   (or set MY_LAB_KEY)" in ended.err) == (77, True)
    monkeypatch.setenv("MY_LAB_KEY", "sk-wrong-0123456789")
    ended = here("run", "--provider", "lab", "Greet me")
    assert (ended.code, "sk-wrong-0123456789" in ended.err) == (77, False)
    monkeypatch.setenv("MY_LAB_KEY", KEY)
    assert here("run", "--provider", "lab", "Greet me").code == 0
    assert {heard.headers["authorization"] for heard in server.books.chat_requests[-1:]} == {f"Bearer {KEY}"}


def test_doctor_and_test_take_a_model_and_show_what_the_server_has(
    here: Here, define: Define, vllm: WireServer
) -> None:
    define(vllm, "price = 0")
    document = here("doctor", "--model", "lab/nope", "--json").document
    found = next(check for check in document["checks"] if check["about"] == "provider")
    assert (document["exit_code"], found["state"]) == (1, "lack")
    assert found["said"].endswith("does not know the model nope; it has: qwen1.5b")
    assert found["cure"] == "agentctl run --model lab/qwen1.5b TASK"
    document = here("doctor", "--provider", "lab", "--model", "qwen1.5b", "--json").document
    found = next(check for check in document["checks"] if check["about"] == "provider")
    assert document["would_use"] == "lab/qwen1.5b"
    assert found["said"].endswith("knows qwen1.5b, its window is 4,096 tokens")
    ended = here("providers", "test", "lab", "--free", "--model", "nope")
    assert (ended.code, "it has: qwen1.5b   (add --model lab/qwen1.5b)" in ended.err) == (69, True)
    ended = here("providers", "test", "--free", "--model", "lab/qwen1.5b", "--json")
    (entry,) = ended.document["providers"]
    names = ("provider", "model", "status", "models", "context_window")
    assert [entry[name] for name in names] == ["lab", "qwen1.5b", "done", ["qwen1.5b"], 4_096]
    assert vllm.books.chat_requests == ()


def test_a_name_that_a_server_does_not_list_and_may_know_is_noted(here: Here, define: Define, wire: OpenWire) -> None:
    define(wire(like="llama.cpp", models=["qwen1.5b"]), "price = 0")
    ended = here("providers", "test", "lab", "--free", "--model", "any")
    assert (ended.code, "lab does not list any; it has: qwen1.5b\n" in ended.err) == (0, True)
    document = here("doctor", "--model", "lab/any", "--json").document
    found = next(check for check in document["checks"] if check["about"] == "provider")
    assert found["state"] == "ok"
    assert found["said"].endswith("lists qwen1.5b and not any: a server may answer to any name")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lab", "openai", "--model", "x"), "--model is for one provider"),
        (("openai", "--model", "lab/x"), "two providers are named at once"),
        (("labb",), 'did you mean "lab"?'),
    ],
)
def test_a_test_of_a_wrong_pair_is_refused(
    here: Here, define: Define, vllm: WireServer, words: tuple[str, ...], said: str
) -> None:
    define(vllm, "price = 0")
    ended = here("providers", "test", "--free", *words)
    assert (ended.code, said in ended.err) == (2, True)


def test_the_paid_test_of_a_free_server_costs_nothing(here: Here, define: Define, wire: OpenWire) -> None:
    server = wire(pass_trial, like="vllm", models=["m"])
    define(server, "price = 0", 'model = "m"')
    (entry,) = here("providers", "test", "lab", "--json").document["providers"]
    assert (entry["status"], entry["price_known"], entry["cost"]["nano_usd"]) == ("done", True, 0)


def test_lists_show_it_with_where_it_comes_from(
    here: Here, define: Define, vllm: WireServer, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_API_KEY", KEY)
    define(vllm, "price = 0", 'model = "qwen1.5b"', before='llm_provider = "lab"')
    ended = here("providers", "list", "--json")
    found = row(ended.document, "lab")
    assert (found["chosen"], found["kind"], found["model"], found["base_url"]) == (
        True, "openai", "qwen1.5b", vllm.openai_url,
    )  # fmt: skip
    assert found["defined_in"] == f"user config {config / 'config.toml'}"
    key = found["key"]
    assert isinstance(key, dict)
    assert (key["name"], key["from"], KEY in ended.out) == ("LAB_API_KEY", "environment LAB_API_KEY", False)
    assert "openai, config.toml" in here("providers", "list").out
    models = here("models", "lab/", "--json").document["models"]
    assert [(model["name"], model["price"]["input_usd_per_million"]) for model in models] == [("lab/qwen1.5b", 0.0)]
    ended = here("config", "show")
    assert f"lab: openai at {vllm.openai_url}, free, model qwen1.5b, key LAB_API_KEY" in ended.out
    assert KEY not in ended.out
    assert "a run would use lab/qwen1.5b" in here("config", "check").out
    assert here("config", "get", "providers.lab.base_url").out == f"{vllm.openai_url}\n"


def test_a_built_in_name_is_exit_2(here: Here, define: Define, vllm: WireServer) -> None:
    define(vllm, "price = 0", name="openai")
    for words in (("run", "--provider", "openai", "Greet me"), ("config", "check")):
        ended = here(*words)
        assert (ended.code, "providers.openai: openai is a built-in provider" in ended.err) == (2, True)
    assert vllm.books.requests == ()
    assert here("run", "--provider", "builtin", "How much memory is free?").code == 0


def test_a_shell_is_offered_its_name(
    here: Here, define: Define, vllm: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(vllm, "price = 0", 'model = "qwen1.5b"')
    monkeypatch.setenv("_AGENTCTL_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")

    def offered(line: str) -> list[str]:
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        return [word.partition("\t")[0] for word in here().out.splitlines() if word]

    assert offered("agentctl run --provider la") == ["lab", "lambda_ai"]
    assert offered("agentctl providers test la")[:1] == ["lab"]
    assert offered("agentctl providers set-key la") == ["lab"]
    assert offered("agentctl run --model lab/") == ["lab/qwen1.5b"]


def test_a_run_without_one_asks_no_server(here: Here, define: Define, vllm: WireServer) -> None:
    define(vllm, "price = 0")
    assert here("run", "--provider", "builtin", "How much memory is free?").code == 0
    assert here("providers", "list").code == 0
    assert here("costs").code == 0
    assert vllm.books.requests == ()


def test_the_python_face_takes_its_name(define: Define, vllm: WireServer) -> None:
    from agentctl import create_llm_provider

    define(vllm, "price = 0", 'model = "qwen1.5b"')
    provider = create_llm_provider("lab")
    assert (provider.facts.name, provider.facts.price is not None) == ("lab/qwen1.5b", True)
    assert provider.invoke("Greet me").text == "There are two."
