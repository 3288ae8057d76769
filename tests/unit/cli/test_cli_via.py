"""``--via`` and LLM_CLIENT: the client that sends the requests, and every place that names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentctl.providers.routes import choose_client
from agentctl.settings.key_file import mask_key
from tests.support.command_line import KEY, Here, row
from tests.support.parity.streams import chunk, spoken, written
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, WireServer

TASK = ("run", "--agent", "system", "--sandbox", "none", "Say hello.")


@pytest.fixture
def server(wire: OpenWire, monkeypatch: pytest.MonkeyPatch) -> WireServer:
    """A server that answers every request; it is OpenAI's for all that a run knows."""
    found = wire(Answer("Hello."))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", found.openai_url)
    return found


def test_result_names_the_client_that_sent_the_requests(here: Here, server: WireServer) -> None:
    for words, client in (((), choose_client("openai")), (("--via", "litellm"), "litellm")):
        ended = here(*TASK, "--json", *words)
        assert (ended.code, ended.document["answer"], ended.document["client"]) == (0, "Hello.", client)
    assert len(server.books.chat_requests) == 2


def test_events_of_a_run_and_of_each_request_name_the_client(here: Here, server: WireServer) -> None:
    ended = here(*TASK, "-o", "jsonl", "--via", "litellm")
    found = {line["event"]: line["client"] for line in ended.lines if "client" in line}
    assert found == {"run_started": "litellm", "call_sent": "litellm", "run_finished": "litellm"}


def test_verbose_start_line_names_the_client_and_the_usual_one_does_not(here: Here, server: WireServer) -> None:
    first = here(*TASK, "-v", "--via", "litellm").err.splitlines()[0]
    assert " · via litellm · agent system (" in first
    assert "litellm" not in here(*TASK, "--via", "litellm").err


def test_client_is_chosen_by_the_environment_and_by_a_file(
    here: Here, server: WireServer, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.mkdir()
    (config / "config.toml").write_text('llm_client = "litellm"\n')
    assert here(*TASK, "--json").document["client"] == "litellm"
    monkeypatch.setenv("LLM_CLIENT", "auto")
    assert here(*TASK, "--json").document["client"] == choose_client("openai")


@pytest.mark.parametrize("words", [("--via", "lean"), ()])
def test_lean_where_it_cannot_be_had_ends_before_anything_is_sent(
    here: Here, server: WireServer, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    if not words:
        monkeypatch.setenv("LLM_CLIENT", "lean")
    ended = here(*TASK, "--provider", "gemini", "--json", *words)
    assert (ended.code, ended.document["client"]) == (2, None)
    assert ended.document["error"] == {
        "kind": "usage",
        "message": "the lean client does not speak the format of Google",
        "hint": "--via auto (or LLM_CLIENT=auto) calls it through litellm",
    }
    estimated = here(*TASK, "--provider", "gemini", "--estimate", *words)
    assert (estimated.code, "does not speak the format of Google" in estimated.err) == (2, True)
    assert server.books.connections == 0


def test_model_that_speaks_only_responses_is_called_by_litellm_everywhere(
    here: Here, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in ((), ("--via", "litellm")):
        ended = here(*TASK, "-m", "openai/o3-pro", "--json", *words)
        assert (ended.code, ended.document["answer"], ended.document["client"]) == (0, "Hello.", "litellm")
    assert [heard.path for heard in server.books.requests] == ["/v1/responses"] * 2
    refused = here(*TASK, "-m", "openai/o3-pro", "--via", "lean", "--json")
    assert (refused.code, refused.document["error"]) == (
        2,
        {
            "kind": "usage",
            "message": "openai/o3-pro speaks only the Responses format, which the lean client does not speak",
            "hint": "--via auto (or LLM_CLIENT=auto) calls it through litellm",
        },
    )
    assert here(*TASK, "-m", "o3-pro", "--via", "lean", "--estimate").code == 2
    monkeypatch.setenv("LLM_MODEL", "openai/o3-pro")
    assert row(here("providers", "list", "--json").document, "openai")["client"] == "litellm"
    monkeypatch.setenv("LLM_CLIENT", "lean")
    listed = row(here("providers", "list", "--json").document, "openai")
    assert (listed["client"], listed["problem"]) == (None, refused.document["error"]["message"])
    assert len(server.books.requests) == 2


def test_azure_without_address_or_key_ends_before_anything_is_sent(
    here: Here, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def azure(*words: str) -> tuple[int, object]:
        ended = here(*TASK, "--model", "azure/gpt-4o", "--json", *words)
        return ended.code, ended.document["error"] and ended.document["error"]["hint"]

    for words in ((), ("--via", "lean")):
        assert azure(*words) == (2, "export AZURE_API_BASE=URL")
    monkeypatch.setenv("AZURE_API_BASE", "https://resource.openai.azure.com")
    for words in ((), ("--via", "lean")):
        assert azure(*words) == (77, "export AZURE_API_KEY=KEY")
    monkeypatch.setenv("LLM_MODEL", "azure/gpt-4o")
    doctor = here("doctor")
    assert "`run` would not start: provider azure needs a key, and AZURE_API_KEY is not set" in doctor.out
    assert "azure needs no key" not in doctor.out
    found = row(here("providers", "list", "--json").document, "azure")
    assert found["key"] == {"needed": True, "name": "AZURE_API_KEY", "masked": None, "from": None}
    assert "needs a key" in str(found["problem"])
    assert server.books.connections == 0
    monkeypatch.setenv("AZURE_API_BASE", server.url)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    assert azure() == (0, None)
    assert "AZURE_OPENAI_API_KEY is set (environment)" in here("doctor").out
    found = row(here("providers", "list", "--json").document, "azure")
    told = {"needed": True, "name": "AZURE_OPENAI_API_KEY", "masked": mask_key(KEY), "from": "environment"}
    assert found["key"] == told
    assert (found["base_url"], found["problem"], found["client"]) == (server.url, None, "lean")


def test_wrong_client_is_an_error_only_for_a_model(
    here: Here, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_CLIENT", "sdk")
    refused = here(*TASK)
    assert (refused.code, refused.out) == (2, "")
    assert 'llm_client cannot be "sdk" (environment LLM_CLIENT); allowed: one of auto, lean, litellm' in refused.err
    for words in (("run", "--provider", "builtin", "How much memory is used?"), ("costs",), ("providers", "list")):
        assert here(*words).code == 0
    flag = here(*TASK, "--via", "sdk")
    assert (flag.code, "'sdk' is not one of 'auto', 'lean', 'litellm'" in flag.err) == (2, True)
    assert server.books.connections == 0


def test_provider_of_ones_own_is_called_by_the_client_of_its_kind(here: Here, server: WireServer, config: Path) -> None:
    config.mkdir()
    lab = f'[providers.lab]\nkind = "openai"\nbase_url = "{server.openai_url}"\nprice = 0\n'
    (config / "config.toml").write_text(lab)
    assert row(here("providers", "list", "--json").document, "lab")["client"] == "lean"
    for via, client in (("auto", "lean"), ("lean", "lean"), ("litellm", "litellm")):
        ended = here(*TASK, "--model", "lab/mine", "--via", via, "--json")
        assert (ended.code, ended.document["client"], ended.document["cost"]["nano_usd"]) == (0, client, 0)


def test_builtin_has_no_client_whatever_is_asked_for(here: Here) -> None:
    for via in ("auto", "lean", "litellm"):
        ended = here("run", "--provider", "builtin", "--via", via, "--json", "How much memory is used?")
        assert (ended.code, ended.document["client"]) == (0, None)


def test_providers_list_names_the_client_of_each(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {one["provider"]: one["client"] for one in here("providers", "list", "--json").document["providers"]}
    assert found == {name: None if name == "builtin" else choose_client(name) for name in found}
    assert found["gemini"] == "litellm"
    lines = here("providers", "list").out.splitlines()
    assert " via " in lines[0]
    assert " litellm " in next(line for line in lines if line.startswith("   gemini"))
    monkeypatch.setenv("LLM_CLIENT", "litellm")
    document = here("providers", "list", "--json").document
    assert {row(document, name)["client"] for name in found} == {None, "litellm"}
    monkeypatch.setenv("LLM_CLIENT", "lean")
    gemini = row(here("providers", "list", "--json").document, "gemini")
    assert (gemini["client"], gemini["problem"]) == (None, "the lean client does not speak the format of Google")


def strange(*_: object) -> Answer:
    """Answer with a field, and a reason to end, that no document of OpenAI's names."""
    events = [chunk({"content": "Hello.", "mood": "fine"}), chunk({}, "weary"), *spoken("openai")[-1:]]
    return Answer(garbage=written("openai", events))


SAID = "openai sent what agentctl does not know: "


def test_what_agentctl_does_not_know_is_named_to_one_who_asks(here: Here, server: WireServer) -> None:
    server.play(strange)
    quiet, verbose, lines = here(*TASK), here(*TASK, "-v"), here(*TASK, "-o", "jsonl").lines
    assert [(ended.code, ended.out) for ended in (quiet, verbose)] == [(4, "")] * 2, "an unknown reason is no success"
    assert SAID not in quiet.err
    (line,) = [line for line in verbose.err.splitlines() if SAID in line]
    assert sorted(line.strip().removeprefix(SAID).split(", ")) == ["field delta.mood (1)", "reason weary (1)"]
    (noted,) = [line for line in lines if line["event"] == "noted" and line["text"].startswith(SAID)]
    assert noted["level"] == "detail"
    assert here(*TASK, "-v", "--via", "litellm").err.count(SAID) == 0, "litellm does not tell"


def test_providers_test_names_the_client_and_what_agentctl_does_not_know(here: Here, server: WireServer) -> None:
    server.play(strange)
    ended = here("providers", "test", "openai", "--json")
    found = row(ended.document, "openai")
    assert found["client"] == "lean"
    assert isinstance(found["unknown"], list)
    assert sorted(name.partition(" (")[0] for name in found["unknown"]) == ["field delta.mood", "reason weary"]
    assert SAID in here("providers", "test", "openai").err
    assert SAID not in here("providers", "test", "openai", "--free").err


def test_runs_show_tells_the_client_of_a_run(here: Here, server: WireServer) -> None:
    here(*TASK, "--via", "litellm")
    events = [json.loads(line) for line in here("runs", "show", "-o", "jsonl").out.splitlines()]
    assert next(event for event in events if event["event"] == "call_sent")["client"] == "litellm"
