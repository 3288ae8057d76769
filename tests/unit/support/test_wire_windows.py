"""The server's own window: refused in the real words, or cut in silence, and reported as the real ones report."""

from __future__ import annotations

import json

import pytest

from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Json, Said, WireRequest
from tests.support.wire.server import Answer, Window
from tests.support.wire.windows import tokens_of


def asked(*texts: str, format: str = "openai", clamp: int = 100, **body: object) -> WireRequest:
    """Return a request of a system message and what follows, by turns."""
    roles = ("system", *("user", "assistant") * len(texts))
    said = [Said(role, text) for role, text in zip(roles, texts, strict=False)]
    whole: Json = {"messages": [{"role": one.role, "content": one.text} for one in said], **body}
    size = len(json.dumps(whole))
    return WireRequest(format, "/", whole, "m", clamp, True, (), tuple(said), size, 1)  # type: ignore[arg-type]


BIG = ("s" * 400, "a" * 4_000, "b" * 4_000, "c" * 4_000)


@pytest.mark.parametrize(
    ("format", "window", "words"),
    [
        ("openai", 2_000, "your messages resulted in 3"),
        ("openai", 3_200, " in the messages, 100 in the completion)"),
        ("anthropic", 2_000, "prompt is too long: 3"),
        ("anthropic", 3_200, " + 100 > 3200, decrease input length or `max_tokens`"),
        ("ollama", 2_000, 'exceeds the available context size (2000 tokens), try increasing it"'),
    ],
)
def test_server_refuses_in_the_words_of_the_real_ones(format: str, window: int, words: str) -> None:
    why = Window(window).refused(asked(*BIG, format=format))
    assert why is not None
    assert words in why.words
    assert Window(4_000).refused(asked(*BIG, format=format)) is None


def test_ollama_with_the_order_not_to_cut_refuses() -> None:
    told = asked(*BIG, format="ollama", truncate=False)
    assert Window(2_000, "half").refused(told) is not None
    assert Window(2_000, "half", heeds=False).refused(told) is None
    assert Window(2_000, "half").refused(asked(*BIG, format="ollama")) is None
    assert Window(9_000, "half").refused(asked(*BIG, format="ollama", truncate=False, options={"num_ctx": 2_000}))


def test_cut_prompt_is_reported_by_the_part_left() -> None:
    request = asked(*BIG)
    assert Window(9_000, "half").read(request, ()) == tokens_of(request)
    assert Window(2_048, "half").read(request, ()) == 1_026
    assert 1_000 < Window(2_400, "newest").read(request, ()) < 2_400
    assert Window(700, "newest").read(request, ()) == 700


def test_cached_tokens_may_be_left_out_of_a_report() -> None:
    request, before = asked(*BIG), asked(*BIG[:3])
    window = Window(9_000, counts="new")
    assert window.read(request, ()) == tokens_of(request)
    assert 1_000 <= window.read(request, [before.messages]) < 1_100
    assert window.read(request, [before.messages, request.messages]) == 1


def test_prompt_is_billed_as_it_is_reported(wire: OpenWire) -> None:
    from tests.support.wire.client import ask

    server = wire(Answer("ok"), window=Window(16, "half", heeds=False))
    got = ask(server, "ollama", stream=True)
    (entry,) = server.books.entries
    assert (got.events[-1]["prompt_eval_count"], entry.tokens.input) == (10, 10)
