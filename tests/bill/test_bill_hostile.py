"""A hostile server: floods, silence, odd types, escapes, and the key sent back in an error."""

from __future__ import annotations

import gc
import itertools
import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import anyio
import pytest

from tests.support.bill.audit import Audit
from tests.support.bill.bodies import call, event, spoken
from tests.support.bill.book import book_of
from tests.support.bill.flood import HEAD, FloodServer, chunked
from tests.support.bill.parts import PAID, TASK, Here, assert_accounted, reaching
from tests.support.command_line import Commands, Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault

PLAIN_KEY = "Zk4mPq8sT1vW6xY2bN9cL3dF7gH5jR0a"
"""As some providers give them out: nothing in it says that it is a key."""

MIB = 1024 * 1024
pytestmark = pytest.mark.usefixtures("litellm_is_loaded")


def highest() -> int:
    """Return the peak memory of this process since ``anew``, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def anew() -> int:
    """Reset the peak, and return the current memory in bytes."""
    gc.collect(1)  # what is older is of earlier tests, and most of it is still needed
    Path("/proc/self/clear_refs").write_text("5")
    return highest()


def no_end_of_line() -> Iterator[bytes]:
    yield b"data: "
    yield from itertools.repeat(b"x" * 65536)


def slowly() -> Iterator[bytes]:
    for byte in event({"content": "hi"}):
        time.sleep(0.2)
        yield bytes((byte,))


def arguments() -> Iterator[bytes]:
    yield event(call(arguments=""))
    yield from itertools.repeat(event(call(None, "a" * 4000, id=None)))


def new_calls() -> Iterator[bytes]:
    for number in itertools.count():
        yield event(call("n" * 4000, "", index=number, id=f"call_{number}"))


def bomb() -> Iterator[bytes]:
    """A compressed body: two gibibytes in two megabytes."""
    packed = zlib.compressobj(9, wbits=31)
    yield packed.compress(b"data: ") + packed.flush(zlib.Z_FULL_FLUSH)
    mebibyte = packed.compress(b"x" * MIB) + packed.flush(zlib.Z_FULL_FLUSH)
    yield from itertools.repeat(mebibyte, 2048)


def headers() -> Iterator[bytes]:
    yield HEAD
    yield from itertools.repeat(b"x-more: " + b"y" * 60_000 + b"\r\n")


FLOODS: dict[str, Callable[[], Iterable[bytes]]] = {
    "a line without an end": lambda: chunked(no_end_of_line()),
    "text": lambda: chunked(itertools.repeat(event({"content": "more " * 800}))),
    "thoughts": lambda: chunked(itertools.repeat(event({"reasoning_content": "more " * 800}))),
    "pieces of one call": lambda: chunked(arguments()),
    "new calls": lambda: chunked(new_calls()),
    "text after the end": lambda: chunked(
        itertools.chain([event({"content": "hi"}, "stop")], itertools.repeat(event({"content": "x" * 4000})))
    ),
    "nothing, again and again": lambda: chunked(itertools.repeat(event({"content": ""}) * 20)),
    "comments": lambda: chunked(itertools.repeat(b": ping\n\n" * 500)),
    "headers": headers,
    "headers and nothing": lambda: chunked(()),
    "a byte now and then": lambda: chunked(slowly()),
    "a packed bomb": lambda: chunked(bomb(), b"content-encoding: gzip"),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_is_left_with_the_hold_in_doubt_and_little_memory(user: Here, name: str) -> None:
    with FloodServer(FLOODS[name]) as server:
        before = anew()
        document = await user.run(reaching(server, "openai"), max_cost_per_task="0.10", llm_timeout=0.5, timeout="8s")
        grown = highest() - before
        assert server.everyone_left()
        assert len(server.requests) == len(user.book.sent) == 1
    assert (document["exit_code"], user.book.phases) == (4, ["doubt"]), document["error"]
    assert grown < 150 * MIB


HALF = "\ud83d"  # of a character beyond the first 65,536, as a stream that cuts between its halves sends it

ODD = {
    "half a character": (spoken({"content": f"a{HALF} b"}), 0),
    "a character in two pieces": (spoken({"content": f"a{HALF}"}, {"content": "\ude00 b"}), 0),
    "escapes": (spoken({"content": "a\x1b[31m\x1b]0;owned\x07 b\x00"}), 0),
    "an odd model": (spoken({"content": "a b"}, model="gpt\x1b[2J\ud800\n::error::x"), 0),
    "text that is a number": (spoken({"content": 5}), 1),
    "choices that are a word": (spoken({"content": "a b"}, choices="abc"), 4),
    "usage that is a word": (spoken({"content": "a b"}).replace(b'{"prompt_tokens"', b'"x", "y": {"prompt_tokens"'), 0),
    "a depth without an end": (b"data: " + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n\n", 4),
    "a number without an end": (b'data: {"usage": {"prompt_tokens": ' + b"9" * 10_000 + b"}}\n\n", 3),
    "not a letter": (b"data: \xff\xfe\x00\n\n" * 3, 4),
    "no answer at all": (b"", 4),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", ODD)
async def test_an_odd_answer_is_accounted_for_and_never_our_own_bug(user: Here, wire: OpenWire, name: str) -> None:
    body, code = ODD[name]
    server = wire(Answer(garbage=body, input_tokens=1000, output_tokens=20), rates=PAID["openai"].rates)
    document = await user.run(reaching(server, "openai"), max_cost_per_task="0.10")
    assert document["exit_code"] == code, document["error"]
    assert_accounted(server.books, user.book)
    json.dumps(document)


ODD_CALLS = {
    "half a character in its text": ({"content": f"looking {HALF}"}, call()),
    "half a character in its arguments": (call("list_files", json.dumps({"path": HALF})),),
    "half a character in its name": (call(f"list{HALF}"),),
    "half a character in its id": (call(id=HALF),),
    "no name": (call(None),),
    "an empty name": (call(""),),
    "no id": (call(id=None),),
    "arguments that are an object": (call("list_files", {"path": "."}),),
    "arguments that are no JSON": (call("list_files", "{nope"),),
    "a place that is a word": (call(index="zero"),),
    "two at one place": (call(), call("system_info", "{}", id="call_2")),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", ODD_CALLS)
async def test_run_goes_on_after_an_odd_tool_call(user: Here, wire: OpenWire, name: str) -> None:
    odd = spoken(*ODD_CALLS[name], finish="tool_calls")
    steps = [Answer(garbage=odd, input_tokens=1000, output_tokens=20), Answer("done")]
    server = wire(steps, rates=PAID["openai"].rates)
    document = await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    assert (document["exit_code"], document["answer"]) == (0, "done"), document["error"]
    assert_accounted(server.books, user.book)


WAITS = {
    "0": 0,
    "-5": 0,
    "nan": 0,
    "1e400": 0,
    "\xff\x80": 0,
    "999999999": 75,
    "Wed, 21 Oct 2099 07:28:00 GMT": 75,
    "Wed, 21 Oct 99999 07:28:00 GMT": 0,
    "Wed, 21 Oct 2015 07:28:00 GMT": 0,
    "Wed, 21 Oct 2015 07:28:00 +99999999999999999999": 0,
    "Mon, 01 Jan 0001 00:00:00 +2359": 0,
}


async def test_retry_after_of_any_text_is_a_wait_or_none(tmp_path: Path, wire: OpenWire, audit: Audit) -> None:
    ended: dict[str, int] = {}

    async def ask(number: int, words: str) -> None:
        server = wire([Fault(429, headers=(("retry-after", words),)), Answer("done")])
        here = Here(tmp_path / str(number))
        audit.follow(here.state / "ledger.db")
        document = await here.run(reaching(server, "openai"))
        ended[words] = document["exit_code"]

    async with anyio.create_task_group() as group:
        for number, words in enumerate(WAITS):
            group.start_soon(ask, number, words)
    assert ended == WAITS


def error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "x", "code": None}}).encode()


ECHOES = {
    "in a refusal": Fault(401, body=error(f"Incorrect API key provided: {PLAIN_KEY}.")),
    "cut in the middle": Fault(400, body=error("x" * 270 + f" {PLAIN_KEY} is no key")),
    "between escapes": Fault(400, body=error(f"\x1b[31m{PLAIN_KEY}\x1b[0m\x07")),
    "in mid-stream": Fault(500, in_stream=True, body=b"data: " + error(f"bad {PLAIN_KEY}") + b"\n\n"),
    "in a redirect": Fault(307, location=f"https://example.invalid/{PLAIN_KEY}"),
    "as the model": Answer("done", model=PLAIN_KEY),
    "in the answer": Answer(f"Your key is {PLAIN_KEY}, isn't it?"),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
@pytest.mark.parametrize("name", ECHOES)
def test_a_key_that_is_sent_back_is_shown_and_kept_nowhere(
    command: Callable[..., Ended], wire: OpenWire, state: Path, name: str, form: str
) -> None:
    """Even ten characters of the key may not be shown."""
    environ = reaching(wire(ECHOES[name]), "openai", key=PLAIN_KEY)
    ended = command("-o", form, "-v", "--max-cost", "0.10", env=environ)
    kept = {str(path): path.read_bytes() for path in state.rglob("*") if path.is_file()}
    places = {"stdout": ended.out.encode(), "stderr": ended.err.encode(), **kept}
    pieces = [PLAIN_KEY[at : at + 10].encode() for at in range(len(PLAIN_KEY) - 9)]
    assert [place for place, text in places.items() if any(piece in text for piece in pieces)] == []
    assert not any(escape in ended.out + ended.err for escape in ("\x1b", "\x07"))


def test_a_process_keeps_odd_types_and_its_key_off_its_streams(shell: Commands, state: Path, wire: OpenWire) -> None:
    odd = spoken(call("system_memory", {}), finish="tool_calls")
    refused = error(f"\x1b[31mIncorrect API key provided: {PLAIN_KEY}. Get one at ::error::x")
    steps = [Answer(garbage=odd, input_tokens=1000, output_tokens=20), Fault(401, body=refused)]
    server = wire(steps, rates=PAID["openai"].rates)
    ended = shell("run", TASK, "-v", **reaching(server, "openai", key=PLAIN_KEY))
    assert (ended.code, ended.out) == (77, "")
    assert "rejected the key" in ended.err
    assert PLAIN_KEY[:10] not in ended.err
    assert "\x1b" not in ended.err
    assert "Warning" not in ended.err
    assert book_of(state).phases == ["settled", "void"]
    assert_accounted(server.books, book_of(state))
