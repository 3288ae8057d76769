"""What an answer means: how a run ends, and what it costs, for answers as real servers send them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.bill.book import book_of
from tests.support.bill.parts import reaching
from tests.support.command_line import Ended
from tests.support.parity.streams import Event, calling, chunk, spoken, written
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
Command = Callable[..., Ended]
HALF = "It says alp"
BROKEN = {
    "openai": ("abort", "error", "timeout", "cancelled", "insufficient_system_resource", "ABORT", "a new word", "null"),
    "anthropic": ("pause_turn", "a_new_word"),
    "ollama": ("load", "unload", "a_new_word"),
}
ENDED = {
    "openai": (
        "STOP",
        "eos",
        "eos_token",
        "COMPLETE",
        "end_turn",
        "stop_sequence",
        "function_call",
        "Tool_Calls",
        "endTurn",
    ),
    "anthropic": ("stop_sequence", "END_TURN", "tool_use", "stopSequence"),
    "ollama": ("Stop",),
}
REFUSED = {
    "openai": ("content_filter", "refusal", "SAFETY", "RECITATION", "PROHIBITED_CONTENT"),
    "anthropic": ("refusal",),
    "ollama": ("content_filter",),
}
CUT = {
    "openai": ("length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens"),
    "anthropic": ("model_context_window_exceeded",),
    "ollama": ("LENGTH",),
}


def rows(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(format, word) for format, words in table.items() for word in words]


def sending(format: str, *events: Event) -> Answer:
    """Return an answer of these events, billed as it is reported by ``spoken``."""
    return Answer(garbage=written(format, events), input_tokens=90, output_tokens=20)


@pytest.mark.both_clients
@pytest.mark.parametrize(("format", "word"), rows(BROKEN))
def test_unknown_finish_reason_is_a_provider_that_broke_off(
    command: Command, wire: OpenWire, state: Path, format: str, word: str
) -> None:
    server = wire(sending(format, *spoken(format, HALF, stop=word)), repeat=True)
    ended = command("--json", env=reaching(server, format))
    document = ended.document
    assert (ended.code, document["status"], document["error"]["kind"]) == (4, "unavailable", "provider")
    assert document["error"]["message"] == f"{format} broke off its answer: the finish reason is {word}"
    assert (document["complete"], document["answer"]) == (False, HALF)
    assert book_of(state).phases == ["settled"]
    assert document["cost"]["in_doubt_usd"] == 0


@pytest.mark.both_clients
def test_text_of_an_answer_that_broke_off_is_under_so_far(command: Command, wire: OpenWire) -> None:
    server = wire(sending("openai", *spoken("openai", HALF, stop="abort")), repeat=True)
    ended = command(env=reaching(server, "openai"))
    assert (ended.code, ended.out) == (4, "")
    assert HALF in ended.err
    assert "so far" in ended.err
    assert "error: openai broke off its answer: the finish reason is abort\n" in ended.err


@pytest.mark.both_clients
@pytest.mark.parametrize("format", BROKEN)
def test_call_of_an_answer_that_broke_off_is_not_executed(
    command: Command, wire: OpenWire, tmp_path: Path, format: str
) -> None:
    arguments = '{"path": "new.txt", "content": "half"}'
    events = calling(format, ("write_file", [arguments]))
    for event in events:
        if format == "openai" and event["choices"] and event["choices"][0]["finish_reason"]:
            event["choices"][0]["finish_reason"] = "abort"
        elif "delta" in event and "stop_reason" in event["delta"]:
            event["delta"]["stop_reason"] = "abort"
        elif event.get("done"):
            event["done_reason"] = "abort"
    server = wire([sending(format, *events), sending(format, *spoken(format, "Done."))])
    ended = command("--json", "-y", env=reaching(server, format))
    assert (ended.code, ended.document["tools"]) == (4, [])
    assert len(server.books.chat_requests) == 1
    assert not list(tmp_path.rglob("new.txt"))


@pytest.mark.both_clients
@pytest.mark.parametrize(("format", "word"), rows(ENDED))
def test_known_finish_reason_in_any_case_ends_well(command: Command, wire: OpenWire, format: str, word: str) -> None:
    server = wire(sending(format, *spoken(format, "All of it.", stop=word)))
    ended = command(env=reaching(server, format))
    assert (ended.code, ended.out) == (0, "All of it.\n")


@pytest.mark.both_clients
@pytest.mark.parametrize(("format", "word"), rows(REFUSED))
def test_refusing_finish_reason_is_a_refusal(command: Command, wire: OpenWire, format: str, word: str) -> None:
    server = wire(sending(format, *spoken(format, "I would rather", stop=word)))
    ended = command("--json", env=reaching(server, format))
    document = ended.document
    assert (ended.code, document["error"]["message"]) == (1, "the model refused the task")
    assert (document["complete"], document["answer"]) == (False, "I would rather")


@pytest.mark.both_clients
@pytest.mark.parametrize(("format", "word"), rows(CUT))
def test_cutting_finish_reason_is_a_cut_answer(command: Command, wire: OpenWire, format: str, word: str) -> None:
    server = wire(sending(format, *spoken(format, HALF, stop=word)), repeat=True)
    ended = command(env=reaching(server, format))
    assert (ended.code, ended.out) == (0, f"{HALF}\n")
    assert "the answer was cut at its output limit" in ended.err


@pytest.mark.both_clients
@pytest.mark.parametrize("words", [("abort", "stop"), ("stop", "abort")])
def test_of_two_finish_reasons_the_worse_counts(command: Command, wire: OpenWire, words: tuple[str, str]) -> None:
    *said, usage = spoken("openai", HALF)[:-2] + [chunk({}, word) for word in words] + spoken("openai")[-1:]
    ended = command("--json", env=reaching(wire(sending("openai", *said, usage)), "openai"))
    assert ended.code == 4
    assert "abort" in ended.document["error"]["message"]


@pytest.mark.both_clients
def test_error_inside_a_choice_is_an_error(command: Command, wire: OpenWire) -> None:
    failed = chunk({"content": ""}, "error")
    failed["choices"][0]["error"] = {"code": 502, "message": "Upstream idle timeout exceeded"}
    events = [*spoken("openai", HALF)[:-2], failed, *spoken("openai")[-1:]]
    ended = command(
        "--json", "--max-cost", "0.10", env=reaching(wire(sending("openai", *events), repeat=True), "openai")
    )
    document = ended.document
    assert (ended.code, document["complete"], document["answer"]) == (4, False, HALF)
    assert "openai interrupted its answer: Upstream idle timeout exceeded" in document["error"]["message"]


USED = {"prompt_tokens": 90, "completion_tokens": 20, "total_tokens": 110}
ALL = "It says alpha beta."
CALLED = {"id": "c1", "type": "function", "function": {"name": "system_memory", "arguments": "{}"}}


def completion(finish: str | None = "stop", **message: object) -> Event:
    """Return an answer of OpenAI's format for a request without ``stream``."""
    said = {"role": "assistant", "content": ALL, **message}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
    return {**head, "choices": [{"index": 0, "message": said, "finish_reason": finish}], "usage": USED}


def claudes(*content: Event, stop: str | None = "end_turn") -> Event:
    """Return an answer of Anthropic's format for a request without ``stream``."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5"}
    usage = {"input_tokens": 90, "output_tokens": 20}
    return {**head, "content": list(content) or [{"type": "text", "text": ALL}], "stop_reason": stop, "usage": usage}


def ollamas(**message: object) -> Event:
    head = {"model": "llama3.1:latest", "created_at": "2026-11-23T00:00:00Z", "done": True, "done_reason": "stop"}
    said = {"role": "assistant", "content": ALL, **message}
    return {**head, "message": said, "prompt_eval_count": 90, "eval_count": 20}


def document(event: object, indent: int | str | None = None, end: str = "") -> bytes:
    return (json.dumps(event, indent=indent) + end).encode()


def sse(document: object, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(document).encode() + b"\n\n"


def in_chunks(*texts: str) -> list[Event]:
    """Return chunks with a message in place of the delta."""
    chunks = [chunk({"content": text}) for text in texts]
    for one in chunks:
        (choice,) = one["choices"]
        choice["message"] = choice.pop("delta")
    return [*chunks, chunk({}, "stop"), spoken("openai")[-1]]


SUMMED_UP = [*spoken("openai", "It says ", "alpha beta.")[:-2], completion(), spoken("openai")[-1]]
ENVELOPES: dict[str, tuple[str, bytes]] = {
    "a document": ("openai", document(completion())),
    "an indented document": ("openai", document(completion(), 2, "\n")),
    "a document indented with tabs, after a comment": ("openai", b": hello\n\n" + document(completion(), "\t")),
    "a document without a finish reason": ("openai", document(completion(None), 2)),
    "an event of the whole answer": ("openai", written("openai", [completion()])),
    "messages in place of deltas": ("openai", written("openai", in_chunks("It says ", "alpha beta."))),
    "the whole answer behind its pieces": ("openai", written("openai", SUMMED_UP)),
    "a document of Anthropic": ("anthropic", document(claudes())),
    "an indented document of Anthropic": ("anthropic", document(claudes(), 4, "\r\n")),
    "an event of Anthropic's whole answer": ("anthropic", written("anthropic", [claudes()])),
    "a document of Anthropic without a reason": ("anthropic", document(claudes(stop=None))),
    "a document of Ollama": ("ollama", document(ollamas())),
    "an indented document of Ollama": ("ollama", document(ollamas(), 2, "\n")),
    "a list with a document": ("openai", b"[" + document(completion()) + b"]"),
    "a list of events": ("openai", document(spoken("openai", "It says ", "alpha beta."))),
    "a document in a gateway's envelope": ("openai", document({"result": completion(), "success": True}, 1)),
    "events in a gateway's envelope": (
        "openai",
        written("openai", [{"code": 0, "data": event} for event in spoken("openai", "It says ", "alpha beta.")]),
    ),
    "events that are marked as data twice": (
        "openai",
        written("openai", spoken("openai", "It says ", "alpha beta.")).replace(b"data: ", b"data: data: "),
    ),
    "a document of Anthropic without a type": (
        "anthropic",
        document({name: value for name, value in claudes().items() if name != "type"}),
    ),
    "events of Ollama as those of a stream": (
        "ollama",
        b"".join(map(sse, spoken("ollama", "It says ", "alpha beta."))) + b"data: [DONE]\n\n",
    ),
}
STREAMS: dict[str, tuple[str, bytes]] = {
    "no finish reason": ("openai", written("openai", [*spoken("openai", ALL)[:-2], spoken("openai")[-1]])),
    "an empty finish reason": (
        "openai",
        written("openai", [*spoken("openai", ALL)[:-2], chunk({}, ""), spoken("openai")[-1]]),
    ),
    "no finish reason, usage with the text": (
        "openai",
        written("openai", [*spoken("openai", "It says ")[:-2], chunk({"content": "alpha beta."}, usage=USED)]),
    ),
    "no stop reason": ("anthropic", written("anthropic", spoken("anthropic", ALL)).replace(b'"end_turn"', b"null")),
    "a mark of the byte order": (
        "openai",
        b"\xef\xbb\xbf" + written("openai", spoken("openai", "It says ", "alpha beta.")),
    ),
    "data over several lines": (
        "openai",
        b"".join(
            b"data: " + json.dumps(event, indent=1).encode().replace(b"\n", b"\ndata: ") + b"\n\n"
            for event in spoken("openai", "It says ", "alpha beta.")
        ),
    ),
    "text behind the finish reason": (
        "openai",
        written(
            "openai", [*spoken("openai", "It says ")[:-1], chunk({"content": "alpha beta."}), *spoken("openai")[1:]]
        ),
    ),
    "text with and behind the finish reason": (
        "openai",
        written(
            "openai", [chunk({"content": "It says "}, "stop"), chunk({"content": "alpha beta."}), spoken("openai")[-1]]
        ),
    ),
    "a delta that is null": (
        "openai",
        written("openai", [chunk(), *spoken("openai", ALL)]).replace(b'"delta":{}', b'"delta":null'),
    ),
}


def has_ended_well(command: Command, wire: OpenWire, state: Path, format: str, data: bytes) -> bool:
    """Run against a server that answers with these bytes, billed as they report."""
    ended = command(env=reaching(wire(Answer(garbage=data, input_tokens=90, output_tokens=20)), format))
    assert (ended.code, ended.out) == (0, f"{ALL}\n"), ended.err
    return book_of(state).phases == ["settled"]


@pytest.mark.both_clients
@pytest.mark.parametrize("name", ENVELOPES)
def test_answer_in_any_envelope_is_read_and_charged_once(
    command: Command, wire: OpenWire, state: Path, name: str
) -> None:
    assert has_ended_well(command, wire, state, *ENVELOPES[name])


@pytest.mark.both_clients
@pytest.mark.parametrize("name", STREAMS)
def test_end_of_the_stream_ends_an_answer_without_a_reason(
    command: Command, wire: OpenWire, state: Path, name: str
) -> None:
    assert has_ended_well(command, wire, state, *STREAMS[name])


CLAUDES_CALL = {"type": "tool_use", "id": "c1", "name": "system_memory", "input": {}}
OLLAMAS_CALL = {"function": {"name": "system_memory", "arguments": {}}}
CALLS = {
    "a document": ("openai", document(completion("tool_calls", content=None, tool_calls=[CALLED]), 2)),
    "a document of the old form": (
        "openai",
        document(completion("function_call", content=None, function_call=CALLED["function"])),
    ),
    "a document of Anthropic": ("anthropic", document(claudes(CLAUDES_CALL, stop="tool_use"), 2)),
    "a document of Ollama": ("ollama", document(ollamas(content="", tool_calls=[OLLAMAS_CALL]), 2)),
    "no finish reason": (
        "openai",
        written("openai", [chunk({"tool_calls": [{"index": 0, **CALLED}]}), spoken("openai")[-1]]),
    ),
    "no stop reason": (
        "anthropic",
        written("anthropic", calling("anthropic", ("system_memory", ["{}"]))).replace(
            b'"tool_use","stop', b'null,"stop'
        ),
    ),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", CALLS)
def test_call_in_any_envelope_is_executed(command: Command, wire: OpenWire, state: Path, name: str) -> None:
    format, data = CALLS[name]
    called = Answer(garbage=data, input_tokens=90, output_tokens=20)
    ended = command("--json", env=reaching(wire([called, sending(format, *spoken(format, "Done."))]), format))
    assert (ended.code, ended.document["answer"]) == (0, "Done.")
    assert ended.document["tools"] == [{"name": "system_memory", "calls": 1, "failed": 0}]
    assert book_of(state).phases == ["settled", "settled"]


HALF_A_CALL = chunk({"tool_calls": [{"index": 0, **CALLED, "function": {"name": "f", "arguments": '{"a": '}}]})
CUT_SHORT = {
    "neither a finish reason nor an end": written("openai", spoken("openai", HALF)[:-2]).replace(b"data: [DONE]", b""),
    "half a call and an end": written("openai", [HALF_A_CALL, spoken("openai")[-1]]),
    "nothing and an end": written("openai", [chunk({"role": "assistant"}), spoken("openai")[-1]]),
    "half a document": document(completion(), 2)[:150],
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", CUT_SHORT)
def test_answer_without_an_end_is_cut_short(command: Command, wire: OpenWire, name: str) -> None:
    server = wire(Answer(garbage=CUT_SHORT[name], input_tokens=90, output_tokens=20), repeat=True)
    ended = command("--json", "--max-cost", "0.10", env=reaching(server, "openai"))
    assert (ended.code, ended.document["complete"], ended.document["tools"]) == (4, False, [])


@pytest.mark.both_clients
@pytest.mark.parametrize("missing", ["", "\n", "\n\n"])
def test_stream_left_open_behind_its_end_holds_up_no_run(
    command: Command, wire: OpenWire, state: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr("agentctl.providers.http_gate.LATE_S", 600.0)
    data = written("openai", spoken("openai", ALL)).removesuffix(missing.encode())
    answer = Answer(garbage=data, input_tokens=90, output_tokens=20, stall=True, cut_after=len(data))
    ended = command(env=reaching(wire(answer), "openai"))
    assert (ended.code, ended.out, book_of(state).phases) == (0, f"{ALL}\n", ["settled"])


class Failure(NamedTuple):
    """An error document in a 200 stream: the exit code, the kind, how the attempt stands, and words of the message."""

    format: str
    data: bytes
    code: int
    kind: str
    phase: str
    words: str


LM_STUDIO = "The number of tokens to keep is greater than the context length (n_keep: 5000>= n_ctx: 4096)."
VLLM = {"object": "error", "message": "KV cache is full", "type": "InternalServerError", "code": 500}
TOO_LONG = {"message": "This model's maximum context length is 4096 tokens.", "type": "BadRequestError", "code": 400}
CLAUDES = {"type": "invalid_request_error", "message": "prompt is too long: 5000 tokens > 4096 maximum"}
INVALID = {"error": {"message": "Tool use failed.", "type": "invalid_request_error", "code": "tool_use_failed"}}
WRONG_FIELD = {"loc": ["body", "messages"], "msg": "Field required", "type": "missing"}


BEGUN = written("openai", spoken("openai", HALF)[:-2]).removesuffix(b"data: [DONE]\n\n")
FAILURES = {
    "too long, without a status": Failure(
        "openai", sse({"error": {"message": LM_STUDIO}}, "error"), 7, "context", "void", "n_ctx: 4096"
    ),
    "too long, an object of the type error": Failure(
        "openai", sse({"object": "error", **TOO_LONG}), 7, "context", "void", "4096 tokens"
    ),
    "too long, a document": Failure("openai", document({"error": TOO_LONG}, 2), 7, "context", "void", "4096 tokens"),
    "too long, of Anthropic": Failure(
        "anthropic", sse({"type": "error", "error": CLAUDES}, "error"), 7, "context", "void", "prompt is too long"
    ),
    "invalid request": Failure("openai", sse(INVALID, "error"), 4, "provider", "void", "Tool use failed"),
    "invalid request after text": Failure("openai", BEGUN + sse(INVALID), 4, "provider", "doubt", "Tool use failed"),
    "a wrong field": Failure(
        "openai", sse({"detail": [WRONG_FIELD]}), 4, "provider", "void", "messages: Field required"
    ),
    "a wrong field, inside a message": Failure(
        "openai",
        sse({"object": "error", "message": {"detail": [WRONG_FIELD]}, "type": "invalid_request_error"}),
        4,
        "provider",
        "void",
        "messages: Field required",
    ),
    "no model": Failure(
        "openai",
        sse({"error": {"message": "The model `m` does not exist"}}),
        69,
        "model_gone",
        "void",
        "does not exist",
    ),
    "no model, of Ollama": Failure(
        "ollama", document({"error": "model 'llama3.1' not found"}), 69, "model_gone", "void", "not found"
    ),
    "no quota": Failure(
        "openai",
        sse({"error": {"message": "You exceeded your current quota, check your plan"}}),
        75,
        "quota",
        "void",
        "exceeded your current quota",
    ),
    "too long after text, as LM Studio says it": Failure(
        "openai", BEGUN + sse({"error": "Context size has been exceeded."}), 7, "context", "doubt", "Context size"
    ),
    "no quota, beside the words": Failure(
        "ollama", document({"StatusCode": 402, "error": "no more for now"}), 75, "quota", "void", "no more for now"
    ),
    "no quota, of MiniMax": Failure(
        "openai",
        sse({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
        75,
        "quota",
        "void",
        "insufficient balance",
    ),
    "no quota after text": Failure(
        "openai",
        BEGUN + sse({"error": {"code": "insufficient_quota", "message": "No quota is left"}}),
        75,
        "quota",
        "doubt",
        "No quota is left",
    ),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", FAILURES)
def test_error_in_a_stream_is_what_it_is_with_a_status(
    command: Command, wire: OpenWire, state: Path, name: str
) -> None:
    failure = FAILURES[name]
    server = wire(Answer(garbage=failure.data, input_tokens=0, output_tokens=0), repeat=True)
    ended = command("--json", env=reaching(server, failure.format))
    assert (ended.code, ended.document["error"]["kind"]) == (failure.code, failure.kind)
    assert failure.words in ended.document["error"]["message"]
    assert (book_of(state).phases, len(server.books.chat_requests)) == ([failure.phase], 1)
    assert ended.document["answer"] == (HALF if failure.phase == "doubt" else "")


BROKEN_OFF = {
    "an object of the type error": sse({"choices": [{"delta": {"role": "assistant", "content": ""}}]}) + sse(VLLM),
    "an event of the name error": sse({"message": "KV cache is full", "code": 500}, "error"),
    "plain words in an event of the name error": b"event: error\ndata: KV cache is full\n\n",
    "a field of the name error": b'error: {"code": 500, "message": "KV cache is full"}\n\n',
    "a detail": sse({"detail": "KV cache is full"}),
    "an error in a choice": sse({"choices": [{"delta": {}, "error": {"message": "KV cache is full", "code": 500}}]}),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", BROKEN_OFF)
def test_words_of_an_error_in_a_stream_reach_the_user(command: Command, wire: OpenWire, name: str) -> None:
    server = wire(Answer(garbage=BROKEN_OFF[name], input_tokens=0, output_tokens=0), repeat=True)
    ended = command("--json", "--max-cost", "0.10", env=reaching(server, "openai"))
    assert (ended.code, ended.document["error"]["kind"]) == (4, "provider")
    assert "KV cache is full" in ended.document["error"]["message"]


WHALE = "whale \U0001f433 end"
HALVES = ("whale \ud83d", "\udc33 end")
BETWEEN = {
    "openai": chunk({"reasoning_content": "Hm."}),
    "anthropic": {"type": "ping"},
    "ollama": {"message": {"role": "assistant", "content": "", "thinking": "Hm."}, "done": False},
}


@pytest.mark.both_clients
@pytest.mark.parametrize("format", BETWEEN)
@pytest.mark.parametrize("apart", [False, True])
def test_character_split_over_deltas_is_whole(command: Command, wire: OpenWire, format: str, apart: bool) -> None:
    """``apart``: another event stands between the halves."""
    events = spoken(format, *HALVES)
    place = next(at for at, event in enumerate(events) if " end" in str(event))
    events[place:place] = [BETWEEN[format]] if apart else []
    data = written(format, events, escaped=True)
    ended = command(env=reaching(wire(Answer(garbage=data, input_tokens=90, output_tokens=20)), format))
    assert (ended.code, ended.out) == (0, f"{WHALE}\n")


@pytest.mark.both_clients
@pytest.mark.parametrize("text", ["end \ud83d", "\udc33 begin", "mid \ud83d \udc33 dle"])
def test_half_of_a_character_is_replaced(command: Command, wire: OpenWire, text: str) -> None:
    data = written("openai", spoken("openai", text), escaped=True)
    ended = command("--json", env=reaching(wire(Answer(garbage=data, input_tokens=90, output_tokens=20)), "openai"))
    assert ended.code == 0
    assert ended.document["answer"] == text.replace("\ud83d", "\ufffd").replace("\udc33", "\ufffd")


USAGES: dict[str, dict[str, object]] = {
    "whole floats": {"usage": {"prompt_tokens": 90.0, "completion_tokens": 2e1, "total_tokens": 110.0}},
    "other names": {"usage": {"promptTokens": 90, "completionTokens": 20, "totalTokens": 110}},
    "counts of Cohere": {
        "usage": {
            "billed_units": {"input_tokens": 80, "output_tokens": 20},
            "tokens": {"input_tokens": 90, "output_tokens": 20},
        }
    },
    "another block": {"usage_metadata": {"prompt_token_count": 90, "candidates_token_count": 20}},
    "inside the choice": {"choices": [{"index": 0, "delta": {}, "finish_reason": None, "usage": USED}]},
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", USAGES)
def test_usage_in_any_form_is_charged(command: Command, wire: OpenWire, state: Path, name: str) -> None:
    events = [*spoken("openai", ALL)[:-1], {**chunk(), "choices": [], **USAGES[name]}]
    assert has_ended_well(command, wire, state, "openai", written("openai", events))
