"""stdout and the exit code of a failed run, by kind of failure."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.bill.bodies import in_pieces
from tests.support.bill.book import book_of
from tests.support.bill.parts import FORMATS, KEY, PAID, reaching
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, Fault, Rates, Step

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
Command = Callable[..., Ended]


class Kind(NamedTuple):
    """What the server answers, the exit code, and the name of the status."""

    step: Step
    code: int
    status: str
    kind: str = "provider"


SOON = (("retry-after-ms", "5"),)
KINDS = {
    "wrong key": Kind(Fault(401), 77, "auth", "auth"),
    "no such model": Kind(Fault(404), 69, "model_gone", "model_gone"),
    "rate limit": Kind(Fault(429, headers=SOON), 75, "rate_limited", "rate_limited"),
    "no credit": Kind(Fault(429, code="insufficient_quota"), 75, "rate_limited", "quota"),
    "server error": Kind(Fault(500, headers=SOON), 4, "unavailable"),
    "gateway": Kind(Fault(502, headers=SOON), 4, "unavailable"),
    "garbage": Kind(Answer(garbage=b"<html>hello</html>"), 4, "unavailable"),
    "garbage that looks like an event": Kind(
        Answer(garbage=b'data: {"a": 1}\n\ndata: {"choices": 5}\n\n'), 4, "unavailable"
    ),
    "too long": Kind(Fault(400, code="context_length_exceeded"), 7, "context", "context"),
    "redirect": Kind(Fault(308, location="/elsewhere"), 4, "unavailable"),
    "nothing": Kind(Fault(hang_up=True), 4, "unavailable"),
}


@pytest.mark.parametrize("name", KINDS)
def test_failure_in_text_mode_leaves_stdout_empty(command: Command, wire: OpenWire, name: str) -> None:
    ended = command("--max-cost", "0.10", env=reaching(wire(KINDS[name].step), "openai"))
    assert (ended.code, ended.out) == (KINDS[name].code, "")
    assert ended.err.count("error: ") == 1
    assert "Traceback" not in ended.err
    assert "litellm" not in ended.err


@pytest.mark.both_clients
@pytest.mark.parametrize(
    ("name", "format"),
    [(name, format) for name in KINDS for format in FORMATS if (name, format) != ("no credit", "ollama")],
)
def test_failure_in_json_mode_is_one_document(command: Command, wire: OpenWire, name: str, format: str) -> None:
    """The limit is so low that one failure in doubt ends the run without retries."""
    kind = KINDS[name]
    ended = command("--max-cost", "0.10", "--json", env=reaching(wire(kind.step), format))
    document = ended.document
    assert (ended.code, document["exit_code"], document["status"]) == (kind.code, kind.code, kind.status)
    assert (document["complete"], document["answer"], document["error"]["kind"]) == (False, "", kind.kind)
    assert document["error"]["message"]
    assert "Traceback" not in ended.err


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
def test_server_that_is_down_is_reported_with_a_hint_and_costs_nothing(
    command: Command, state: Path, format: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there

        class Down:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        ended = command("--json", env=reaching(Down(), format))
    document = ended.document
    assert (ended.code, document["status"], document["error"]["kind"]) == (4, "unavailable", "provider")
    assert f"{format} cannot be reached at {Down.url}" in document["error"]["message"]
    assert document["error"]["message"].endswith(": nothing listens there")
    assert "retrying" not in ended.err
    assert document["error"]["hint"]
    assert document["cost"] == {**document["cost"], "nano_usd": 0, "in_doubt_usd": 0.0}
    assert tuple(book_of(state).phases) == ("void",)


def test_an_unknown_price_sends_nothing_and_gives_the_line_to_add(command: Command, wire: OpenWire) -> None:
    server = wire(Answer("never"))
    ended = command("--json", "-m", "openai/gpt-of-my-own", env=reaching(server, "openai"))
    error = ended.document["error"]
    assert (ended.code, ended.document["status"], error["kind"]) == (2, "usage", "unknown_price")
    assert server.books.requests == ()
    assert "openai/gpt-of-my-own" in error["message"]
    assert error["hint"].endswith('\n[prices."openai/gpt-of-my-own"]\ninput = 1.00\noutput = 3.00')


CONFIGS = {
    "empty": "",
    "settings": "max_turns = 9\n# why\n",
    "inside the table": '[prices]\n"openai/a" = { input = 1, output = 1 }\n',
    "inside a line of it": '[prices."openai/a"]\ninput = 1\noutput = 1\n',
    "keys with dots": 'max_turns = 9\nprices."openai/a" = { input = 1, output = 1 }\n',
    "a broken comment": "max_turns = 9\n\n\n  # [prices]\n",
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("form", ["--json", "-otext"])
def test_the_lines_to_add_stand_right_at_the_end_of_any_file(
    command: Command, wire: OpenWire, tmp_path: Path, config: str, form: str
) -> None:
    """The lines are appended exactly as they were printed."""
    server = wire(PAID["openai"].brief, rates=Rates(Decimal(1), Decimal(3)))
    own = tmp_path / "own.toml"
    own.write_text(CONFIGS[config])
    words = (form, "-m", "openai/gpt-of-my-own", "--config", str(own))
    refused = command(*words, env=reaching(server, "openai"))
    said = refused.document["error"]["hint"] if form == "--json" else refused.err.rstrip("\n")
    assert (refused.code, server.books.requests) == (2, ())
    with own.open("a") as file:
        file.write(said[said.index("[prices") :] + "\n")
    ended = command(*words[1:], "--json", env=reaching(server, "openai"))
    assert (ended.code, ended.document["cost"]["nano_usd"]) == (0, server.books.billed_nano), ended.err
    assert ended.document["cost"]["price_source"] == "config.toml"


@pytest.mark.parametrize(("said", "meant"), [("0.0000025", "2.5"), ("2500000", "2.5"), ("0.0025", "2.5")])
def test_price_in_another_unit_is_refused_with_the_probable_one(
    command: Command, wire: OpenWire, tmp_path: Path, said: str, meant: str
) -> None:
    """The last is a price that could be, and a thousandth of what the table says."""
    server = wire(Answer("never"))
    own = tmp_path / "own.toml"
    own.write_text(f'[prices]\n"openai/gpt-4o" = {{ input = {said}, output = 10 }}\n')
    ended = command("--json", "-m", "openai/gpt-4o", "--config", str(own), env=reaching(server, "openai"))
    error = ended.document["error"]
    assert (ended.code, server.books.requests) == (2, ())
    assert f"did you mean {meant}?" in error["message"] + error["hint"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("openrouter/openrouter/auto", "has no upper bound (it chooses the model itself, and so the price)"),
        ("openai/gpt-4o-search-preview", "has no upper bound (it always searches, and searches are billed separately)"),
        ("gemini/gemma-3-27b-it", "the price of gemini/gemma-3-27b-it is unknown"),  # litellm's row says 0
        ("gemini/no-such-model", "the price of gemini/no-such-model is unknown"),
    ],
)
def test_model_without_bound_or_price_is_refused_before_anything_is_sent(
    command: Command, wire: OpenWire, state: Path, monkeypatch: pytest.MonkeyPatch, model: str, said: str
) -> None:
    server = wire(Answer("never"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENROUTER_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, server.url if "PROXY" in name else KEY)
    ended = command("--json", "-m", model, env=reaching(server, "openai"))
    error = ended.document["error"]
    assert (ended.code, error["kind"]) == (2, "unknown_price"), error
    assert said in error["message"]
    assert (server.books.requests, server.books.connections, book_of(state).attempts) == ((), 0, ())


@pytest.mark.parametrize(("priced", "code"), [("input = 0, output = 0", 0), ("input = 0, output = 0.001", 3)])
def test_zero_is_free_where_the_user_says_so(
    command: Command, wire: OpenWire, tmp_path: Path, priced: str, code: int
) -> None:
    server = wire(PAID["openai"].brief, rates=Rates(Decimal(0), Decimal(0)))
    own = tmp_path / "own.toml"
    own.write_text(f'[prices]\n"openai/my-own" = {{ {priced} }}\n')
    words = ("--json", "-m", "openai/my-own", "--config", str(own), "--max-cost", "0")
    ended = command(*words, env=reaching(server, "openai"))
    assert (ended.code, ended.document["cost"]["nano_usd"]) == (code, 0)
    assert bool(server.books.chat_requests) == (code == 0)


def test_a_provider_without_its_key_is_asked_nothing(command: Command) -> None:
    ended = command("--json", "--provider", "openai", env={})
    assert (ended.code, ended.document["error"]["kind"]) == (77, "auth")
    assert "OPENAI_API_KEY" in ended.document["error"]["message"]


def test_a_wait_beyond_the_timeout_is_not_begun(command: Command, wire: OpenWire, state: Path) -> None:
    """If the wait began, the run would end by its timeout with 124."""
    server = wire(Fault(429, headers=(("retry-after", "30"),)))
    ended = command("--json", "--timeout", "25s", env=reaching(server, "openai"))
    assert (ended.code, ended.document["status"]) == (75, "rate_limited")
    assert "30 s" in ended.document["error"]["hint"]
    assert (len(server.books.chat_requests), book_of(state).phases) == (1, ["void"])


def test_a_timeout_in_mid_answer_keeps_the_hold_and_hangs_up(command: Command, wire: OpenWire, state: Path) -> None:
    server = wire(PAID["openai"].answer("some words " * 50, stall=True), rates=PAID["openai"].rates, keys=[KEY])
    ended = command("--json", "--timeout", "8s", env=reaching(server, "openai"))
    assert (ended.code, ended.document["status"]) == (124, "timeout")
    assert server.books.wait(lambda books: len(books.hung_up) == 1)
    assert book_of(state).phases == ["doubt"]
    assert book_of(state).counted_nano >= server.books.billed_nano


@pytest.mark.parametrize("format", FORMATS)
def test_jsonl_is_one_event_a_line_up_to_the_whole_document(command: Command, wire: OpenWire, format: str) -> None:
    server = wire(PAID[format].brief, rates=PAID[format].rates, keys=[KEY])
    ended = command("-o", "jsonl", "--max-cost", "0.50", env=reaching(server, format))
    lines = [json.loads(line) for line in ended.out.splitlines()]
    events = [line["event"] for line in lines]
    assert (ended.code, events[0], events[-1]) == (0, "run_started", "run_finished")
    assert [events.count(name) for name in ("call_held", "call_sent", "call_settled")] == [2, 2, 2]
    assert [line["seq"] for line in lines] == sorted(line["seq"] for line in lines)
    assert sum(line["cost_nano"] for line in lines if line["event"] == "call_settled") == server.books.billed_nano
    said = "".join(line["text"] for line in lines if line["event"] == "answer_streamed")
    assert said.endswith(lines[-1]["answer"])


ODD_LETTERS = "a\u2028b\u2029c\x85d\ufeffe\r\nf\tg 😀 naïve 日本\ndata: h\n\n[DONE] </s> <|im_end|> {} null"


def paths_in(body: object) -> Iterator[object]:
    """Yield every ``path`` in a request, also in arguments that are written as text."""
    if isinstance(body, list):
        for item in body:
            yield from paths_in(item)
    elif isinstance(body, dict):
        for name, value in body.items():
            if name == "path":
                yield value
            yield from paths_in(json.loads(value) if name == "arguments" and isinstance(value, str) else value)


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
def test_every_letter_of_an_answer_and_of_a_call_arrives(command: Command, wire: OpenWire, format: str) -> None:
    """Some of these characters end a line for Python but not for a server: text cut there would be lost."""
    looking = PAID[format].answer(ODD_LETTERS, (Call("list_files", {"path": ODD_LETTERS}),))
    server = wire([looking, Answer(ODD_LETTERS)])
    ended = command("--json", "--max-cost", "0.50", env=reaching(server, format))
    assert (ended.code, ended.document["answer"]) == (0, ODD_LETTERS)
    _, second = server.books.chat_requests
    assert second.asked is not None
    assert [said.text for said in second.asked.messages if said.role == "assistant"] == [ODD_LETTERS]
    assert ODD_LETTERS in list(paths_in(second.body))


PIECES = {
    "the word that ends a stream": ("The last line is data: ", "[DONE]", " and nothing else."),
    "a hundred and fifty times the same": ("====",) * 150,
    "marks of other models": ("<s>", "</s>", "<|assistant|>", "<|endoftext|>", "stop", "error"),
    "spaces and ends of lines": ("a", " ", "\n", "\n\n", "  ", "\t", "b"),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", PIECES)
def test_answer_is_complete_in_pieces_of_any_size(command: Command, wire: OpenWire, name: str, format: str) -> None:
    """litellm stops at the first piece with that word, and treats a hundred equal pieces as an error."""
    body = in_pieces(format, *PIECES[name])
    server = wire(Answer(garbage=body, input_tokens=1000, output_tokens=20), rates=PAID[format].rates)
    ended = command("--json", env=reaching(server, format))
    assert (ended.code, ended.document["answer"]) == (0, "".join(PIECES[name]))
    assert ended.document["cost"]["nano_usd"] == server.books.billed_nano
