"""A run at a server with its own window: a silent cut ends the run, a refusal is answered once by a shorter request."""

from __future__ import annotations

import json

import pytest

from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, Fault, WireRequest, WireServer
from tests.support.wire.windows import Window
from tests.unit.cli.window.conftest import Command, reader

both = pytest.mark.parametrize("format", ["openai", "ollama"])
CUTS = {
    "the newest stay": Window(4_096, "newest", heeds=False),
    "half of it stays": Window(4_096, "half", heeds=False),
    "of no usual size": Window(5_000, "newest", heeds=False),
    "the smallest": Window(2_048, "half", heeds=False),
}


def sent(server: WireServer) -> list[tuple[int, int | None]]:
    """Return the size of each request in tokens, and its clamp."""
    return [(heard.asked.size // 4, heard.asked.clamp) for heard in server.books.chat_requests if heard.asked]


@pytest.mark.slow
@both
@pytest.mark.parametrize("name", CUTS)
def test_a_prompt_that_was_cut_in_silence_ends_the_run_and_names_the_setting(
    command: Command, wire: OpenWire, format: str, name: str
) -> None:
    server = wire(reader(9), window=CUTS[name], repeat=True)
    ended = command(server, format, "--json")
    error = ended.document["error"]
    assert (ended.code, ended.document["status"], error["kind"]) == (7, "context", "context")
    assert error["message"].startswith(f"{format} silently cut the prompt: it read ")
    assert "OLLAMA_CONTEXT_LENGTH=" in error["hint"]
    assert "MAX_CONTEXT_TOKENS=" in error["hint"]
    assert ("--provider ollama" in error["hint"]) == (format == "openai")
    cut = [number for number, (size, _) in enumerate(sent(server), 1) if size > CUTS[name].tokens]
    assert 1 <= len(cut) <= (3 if name == "the smallest" else 2)  # what is short may be a little longer than we count
    assert cut[-1] == len(server.books.chat_requests) == ended.document["turns"]
    usage = ended.document["usage"]  # what the cut answer costs is settled first
    assert usage["input_tokens"] == sum(entry.tokens.input for entry in server.books.entries)


@both
def test_a_first_prompt_that_fills_a_window_exactly_ends_the_run(command: Command, wire: OpenWire, format: str) -> None:
    server = wire(Answer("It says nothing."), window=Window(4_096, "newest", heeds=False), repeat=True)
    ended = command(server, format, task="What do they tell? " * 1_100)
    assert (ended.code, ended.out, len(server.books.chat_requests)) == (7, "", 1)
    assert "it read 4,096 tokens of about" in ended.err


@pytest.mark.slow
@both
@pytest.mark.parametrize("counts", ["all", "new"])
def test_long_run_without_a_cut_ends_as_done(command: Command, wire: OpenWire, format: str, counts: str) -> None:
    """Holds also where the server reports only uncached tokens, and where agentctl cuts the conversation."""
    server = wire(reader(14), window=Window(20_000, "half", counts=counts), repeat=True)  # type: ignore[arg-type]
    ended = command(server, format)
    assert (ended.code, ended.out) == (0, "All of them tell of the same hour.\n")
    assert "context: " in ended.err
    assert not any(words in ended.err for words in ("tokens of about", "tokens, and about"))


@both
def test_cache_entries_of_another_run_are_not_a_cut(command: Command, wire: OpenWire, format: str) -> None:
    server = wire(reader(3), window=Window(20_000, "half", counts="new"), repeat=True)
    task = "Read the files. " + "They tell of hours. " * 830
    for _ in range(3):  # a first request names the minute: two runs that begin in the same one send the same
        ended = command(server, format, task=task)
        assert (ended.code, ended.out) == (0, "All of them tell of the same hour.\n")
        first = [heard.asked.messages for heard in server.books.chat_requests[::4] if heard.asked]
        if first[-1] in first[:-1]:
            break
    assert server.books.entries[-4].tokens.input < 5_000 < sent(server)[-4][0]
    assert ended.err.count("it may have cut the prompt, or read the rest from its cache") == 1


def test_a_window_of_an_odd_size_that_loses_half_is_warned_of(command: Command, wire: OpenWire) -> None:
    """The part left is no longer than the part that may be new, so a cut is not certain."""
    server = wire(reader(9), window=Window(3_000, "half", heeds=False), repeat=True)
    ended = command(server, "ollama", "--max-result-tokens", "1000")
    assert ended.code == 0
    assert ended.err.count("warning: ollama reports 1,502 input tokens, and about ") == 1


def test_old_cache_that_holds_everything_is_not_a_cut(command: Command, wire: OpenWire) -> None:
    server = wire(Answer("It tells of hours.", input_tokens=1))
    ended = command(server, "ollama", task="They tell of hours. " * 800)
    assert (ended.code, ended.out) == (0, "It tells of hours.\n")
    assert "warning: ollama reports 1 input tokens, and about " in ended.err


def test_ollama_gets_its_window_and_the_order_not_to_cut(command: Command, wire: OpenWire) -> None:
    server = wire(Answer("ok"), repeat=True)
    command(server, "ollama", MAX_CONTEXT_TOKENS="20000")
    command(server, "ollama", "--max-output-tokens", "1000", MAX_CONTEXT_TOKENS="8000")
    bodies = [heard.body or {} for heard in server.books.chat_requests]
    assert [(body["options"]["num_ctx"], body["truncate"]) for body in bodies] == [(24_576, False), (9_216, False)]


def test_a_newer_ollama_refuses_and_is_sent_less(command: Command, wire: OpenWire) -> None:
    server = wire(reader(9), window=Window(4_096, "half"), repeat=True)
    ended = command(server, "ollama")
    assert (ended.code, ended.out) == (0, "All of them tell of the same hour.\n")
    assert "too long for the model's window" in ended.err
    assert all(entry.tokens.input <= 4_096 for entry in server.books.entries)
    assert len(server.books.chat_requests) > len(server.books.entries) == 10


def test_no_window_is_longer_than_what_the_model_was_trained_on(command: Command, wire: OpenWire) -> None:
    server = wire(reader(9), context_length=4_096, window=Window(4_096, "half"), repeat=True)
    ended = command(server, "ollama")
    assert (ended.code, ended.out) == (0, "All of them tell of the same hour.\n")
    said = "the window of llama3.1:latest is 4,096 tokens: at most 3,840 are sent, not the 8,000 of max_context_tokens"
    assert ended.err.count(said) == 1
    assert {(heard.body or {})["options"]["num_ctx"] for heard in server.books.chat_requests} == {4_096}
    assert [heard.path for heard in server.books.requests if heard.asked is None] == ["/api/show"]


@pytest.mark.parametrize("format", ["openai", "ollama"])
def test_the_answer_has_room_beside_the_prompt(command: Command, wire: OpenWire, format: str) -> None:
    """gpt-4 has 8,192 tokens for both: a prompt of nearly 8,000 leaves no room for an answer of 4,096."""
    server = wire(reader(12), window=Window(8_192 if format == "openai" else 12_288), repeat=True)
    ended = command(server, format)
    assert (ended.code, ended.out) == (0, "All of them tell of the same hour.\n")
    assert len(server.books.chat_requests) == len(server.books.entries) >= 13, "nothing was refused"
    assert max(size for size, _ in sent(server)) > 6_500


def test_unknown_window_is_learned_from_the_refusal(command: Command, wire: OpenWire) -> None:
    server = wire(reader(4), window=Window(4_096), repeat=True)
    ended = command(server, "openai")
    assert (ended.code, ended.out) == (0, "All of them tell of the same hour.\n")
    assert "asking again for a shorter answer" in ended.err
    first, second, *rest = sent(server)
    assert (first[1], first[0]) == (4_096, second[0])
    assert all(size + (clamp or 0) <= 4_096 for size, clamp in (second, *rest))


def test_a_refusal_without_a_number_takes_a_quarter(command: Command, wire: OpenWire) -> None:
    words = json.dumps({"error": {"message": "Please reduce the length.", "code": "context_length_exceeded"}}).encode()
    mind = reader(4)
    refused: list[int] = []

    def choosy(asked: WireRequest) -> Answer | Fault:
        if asked.size > 16_000 and not refused:
            refused.append(asked.size)
            return Fault(400, body=words)
        return mind(asked)

    server = wire(choosy, repeat=True)
    ended = command(server, "openai")
    assert (ended.code, ended.out) == (0, "All of them tell of the same hour.\n")
    assert len(refused) == 1
    sizes = [size for size, _ in sent(server)]
    assert sizes[sizes.index(refused[0] // 4) + 1] <= refused[0] // 4 * 3 // 4
    assert ended.err.count("asking again with fewer") == 1


def test_request_refused_again_ends_the_run(command: Command, wire: OpenWire) -> None:
    server = wire(Fault(code="context_length_exceeded"))
    ended = command(server, "openai")
    assert (ended.code, ended.out) == (7, "")
    assert 1 <= len(server.books.chat_requests) <= 2
    assert "hint: lower MAX_CONTEXT_TOKENS, or choose a model with a larger window" in ended.err


def test_provider_at_its_own_address_is_trusted(command: Command, wire: OpenWire) -> None:
    """No report is taken for a cut: official addresses do not cut silently."""
    from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider
    from agentctl.providers.remote import RemoteProvider

    assert not OpenAIProvider("gpt-4o", api_key="k").facts.may_cut
    assert not OpenAIProvider("gpt-4o", api_key="k", base_url="https://api.openai.com/v1").facts.may_cut
    assert not AnthropicProvider("claude-haiku-4-5", api_key="k", base_url="http://127.0.0.1:1").facts.may_cut
    assert OpenAIProvider("gpt-4o", api_key="k", base_url="http://127.0.0.1:1/v1").facts.may_cut
    assert RemoteProvider("lm_studio", "m", base_url="http://10.0.0.1:1234/v1").facts.may_cut
    assert OllamaProvider("llama3.1").facts.may_cut
    assert OllamaProvider("llama3.1", base_url="https://ollama.example").facts.may_cut


def test_several_results_at_once_that_do_not_fit_are_seen(command: Command, wire: OpenWire) -> None:
    def mind(asked: WireRequest) -> Answer:
        if asked.messages[-1].role == "user":
            return Answer("", tuple(Call("read_file", {"path": f"{number}.txt"}) for number in range(1, 8)))
        return Answer("All of it is the same.")

    server = wire(mind, window=Window(4_096, "half", heeds=False), repeat=True)
    ended = command(server, "openai", "--max-result-tokens", "6000")
    assert (ended.code, ended.out) == (7, "")
    assert "it read 2,050 tokens" in ended.err
