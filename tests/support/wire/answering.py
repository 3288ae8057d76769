"""From a request to the bytes of its answer: refusals, bills, and scripted faults of the wire."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from tests.support.wire import anthropic_wire, ollama_wire, openai_wire, responses_wire
from tests.support.wire.books import Books, Broken, Entry, Heard, Tariff, Tokens, rates_for
from tests.support.wire.line import Came, ClientGone, Line
from tests.support.wire.local_servers import lookup, refused
from tests.support.wire.prompt_cache import MarkedCache, blocks_of
from tests.support.wire.script import Answer, CutAt, Fault, Json, Said, Script, Step, WireRequest
from tests.support.wire.speech import ABSURD, House, Piece, Refusal, Reply, Wire, cut_place, speak
from tests.support.wire.windows import Window

BOOKS = "/_books"
FREE_REFUSALS = frozenset((*range(300, 400), 400, 401, 402, 403, 404, 405, 413, 422, 429))  # nothing was answered
_CODES = {401: "invalid_api_key", 404: "model_not_found"}  # what a bare status means at a chat endpoint


class Prompter:
    """Gives out the steps of a script, one a request; a single step or a function serves every request."""

    def __init__(self, script: Script, *, repeat: bool) -> None:
        self._lock = threading.Lock()
        self._steps = tuple(script) if isinstance(script, Sequence) else (script,)
        self._repeat = repeat or not isinstance(script, Sequence)
        self._next = 0

    def next(self, asked: WireRequest) -> Step:
        """Return the step for this request."""
        with self._lock:
            at, self._next = self._next, self._next + 1
        if at >= len(self._steps):
            if not self._repeat or not self._steps:
                words = json.dumps({"error": {"message": f"the script has only {len(self._steps)} steps"}})
                return Fault(500, body=words.encode())
            at = len(self._steps) - 1
        step = self._steps[at]
        return step if isinstance(step, Answer | Fault) else step(asked)


class Plan(NamedTuple):
    """A body that is about to be sent: its parts, how many of them, and how it ends."""

    kind: str
    parts: Sequence[bytes]
    sent: int
    length: int | None
    ends: bool
    step: Answer


def wire_of(came: Came) -> tuple[Wire, bool]:
    """Return whose format a path is, and whether it asks the model."""
    if came.path.endswith("/chat/completions"):
        return openai_wire, True
    if came.path.endswith("/responses"):
        return responses_wire, True
    if came.path.endswith("/v1/messages"):
        return anthropic_wire, True
    if came.path.endswith("/api/chat"):
        return ollama_wire, True
    if "x-api-key" in came.headers or "anthropic-version" in came.headers:
        return anthropic_wire, False
    if "/models" not in came.path and (came.path == "/" or "/api/" in came.path):
        return ollama_wire, False
    return openai_wire, False


class Answering:
    """Answers one request after the other on each line; shared by all of them."""

    def __init__(
        self,
        prompter: Prompter,
        books: Books,
        house: House,
        tariff: Tariff,
        bill_nano: int | None,
        window: Window | None = None,
        cache: MarkedCache | None = None,
    ) -> None:
        self.prompter = prompter
        self._cache = cache
        self._books = books
        self._house = house
        self._tariff = tariff
        self._bill_nano = bill_nano
        self._window = window
        self._read: list[tuple[Said, ...]] = []
        self.trouble: list[Exception] = []

    def answer(self, line: Line, came: Came, connection: int) -> bool:
        """Answer a request; True if the connection may be used again."""
        if came.path == BOOKS:
            return self._reply(line, came, Reply(200, json.dumps(self._books.totals()).encode()))
        wire, chats = wire_of(came)
        body = _parsed(came.raw)
        asked = wire.read(came.path, body, len(came.raw)) if chats and body and came.method == "POST" else None
        heard = self._books.hear(Heard(0, connection, 0.0, came.method, came.path, came.headers, came.raw, body, asked))
        asked = heard.asked
        local = replaced = None
        if self._house.like and wire is openai_wire:
            local = self._house._replace(models=None)
            replaced = lookup(came.path, self._house) if asked is None else refused(asked, self._house)
        why = wire.refused(came.headers, asked, local or self._house)
        if why is None and asked is not None and self._window is not None:
            why = self._window.refused(asked)
        if why is not None:
            return self._reply(line, came, wire.refusal(why), wire)
        if replaced is not None:
            return self._reply(line, came, replaced)
        try:
            if asked is None:
                found = None if chats else wire.lookup(came.method, came.path, body or {}, self._house)
                nowhere = Refusal(404, None, words=f"Invalid URL ({came.method} {came.path})")
                lost = Refusal(400, None) if chats else nowhere
                return self._reply(line, came, found or wire.refusal(lost), wire)
            with self._books.under_way():
                return self._chat(line, came, asked, wire)
        except ClientGone:
            if not line.interrupted:
                self._books.leave(heard)
            return False

    def _chat(self, line: Line, came: Came, asked: WireRequest, wire: Wire) -> bool:
        try:
            step = self.prompter.next(asked)
            plan = self._plan(step, asked, wire) if isinstance(step, Answer) else None
        except Exception as exc:  # noqa: BLE001 - a test's own mistake: told when the server is closed
            self.trouble.append(exc)
            return self._reply(line, came, Reply(500, f"the script failed: {exc!r}".encode(), "text/plain"))
        if isinstance(step, Fault):
            return self._fault(line, came, step, asked, wire)
        assert plan is not None
        line.watch(step.pause_s)
        return self._send(line, plan, (*wire.HEADERS, *step.headers)) and not came.last

    def _bill(
        self,
        asked: WireRequest,
        model: str,
        tokens: Tokens,
        step: Step,
        *,
        reported: Tokens | None = None,
        breaks: Broken | None = None,
    ) -> None:
        """Write the bill, before a byte of the answer is sent; ``reported`` is what the client hears of."""
        rates = rates_for(self._tariff, asked)
        fixed = self._bill_nano if step.bill_nano is None else step.bill_nano
        known = rates.nano(tokens)
        fair = rates.nano(tokens, step.searches) if isinstance(step, Answer) else known
        nano = fair if fixed is None else fixed
        if breaks is None and nano != known:
            breaks = "bill"
        if breaks is None and asked.clamp is not None and tokens.output > asked.clamp:
            breaks = "clamp"
        if breaks is None and tokens.input > asked.size + 1024 + 16 * (len(asked.messages) + len(asked.tools)):
            breaks = "bound"
        if breaks is None and model != asked.model:
            breaks = "model"
        told = None if reported is None else rates.nano(reported)
        most = None if reported is None else rates.dearest_nano(reported)
        self._books.bill(Entry(asked.number, asked.path, asked.format, model, tokens, nano, asked, told, breaks, most))

    def _plan(self, answer: Answer, asked: WireRequest, wire: Wire) -> Plan:
        if self._cache is not None and asked.format == "anthropic" and answer.input_tokens is None:
            split = self._cache.take(blocks_of(asked.body, self._cache.bytes_per_token))
            answer = replace(answer, input_tokens=split.total, cached=split.cached, cache_write=split.written)
        speech = speak(answer, asked, wire.PREFIX)
        if self._window is not None and answer.input_tokens is None:
            speech = speech._replace(tokens=speech.tokens._replace(input=self._window.read(asked, self._read)))
        self._read.append(asked.messages)
        pieces = wire.pieces(asked, speech) if asked.stream else _eighths(wire.whole(asked, speech))
        if answer.garbage is not None:
            events = answer.garbage.splitlines(keepends=True) if answer.gap_s else [answer.garbage]
            pieces = list(map(Piece, events))
        told = {"report": speech.tokens, "twice": speech.tokens, "falls": speech.tokens, "absurd": ABSURD}
        reported = told.get(answer.usage)
        for already in range(answer.billed):
            again: Broken | None = "twice" if already else None
            self._bill(asked, speech.model, speech.tokens, answer, reported=None if already else reported, breaks=again)
        usual: CutAt | None = "before_finish" if answer.clean_cut else "middle" if answer.stall else None
        where = answer.cut_at or usual
        cut = cut_place(pieces, where) if where and answer.cut_after is None else len(pieces)
        parts = [piece.data for piece in pieces]
        if answer.cut_after is not None:
            parts = [b"".join(parts)[: answer.cut_after]]
            cut = 1
        broken = (where or answer.cut_after) is not None and not answer.clean_cut
        length = None if asked.stream else sum(len(piece.data) for piece in pieces)
        if length is not None and answer.clean_cut:
            length = sum(map(len, parts[:cut]))
        return Plan(wire.STREAM_TYPE if asked.stream else wire.TYPE, parts, cut, length, not broken, answer)

    def _send(self, line: Line, plan: Plan, headers: tuple[tuple[str, str], ...]) -> bool:
        line.open(200, plan.kind, headers, plan.length)
        ends = plan.ends and not plan.step.stall
        for at, part in enumerate(plan.parts[: plan.sent]):
            line.watch(plan.step.gap_s if at else 0)
            line.write(part, end=ends and at == plan.sent - 1)
        if ends and not plan.sent:
            line.write(b"", end=True)
        if plan.step.stall:
            line.watch(None)
        return ends

    def _fault(self, line: Line, came: Came, fault: Fault, asked: WireRequest, wire: Wire) -> bool:
        if fault.bills:
            given = asked.size // 4 if fault.input_tokens is None else fault.input_tokens
            silent = fault.reset or fault.hang_up or fault.in_stream
            free: Broken | None = None if silent or fault.status not in FREE_REFUSALS else "refusal"
            self._bill(asked, asked.model, Tokens(given, fault.output_tokens), fault, breaks=free)
        line.watch(fault.pause_s)
        if fault.reset or fault.hang_up:
            if fault.reset:
                line.reset()
            return False
        code = fault.code or (_CODES.get(fault.status or 0) if not fault.in_stream else None)
        about = asked.model
        if code == "invalid_api_key":
            about = openai_wire.masked(came.headers.get("authorization", "").partition(" ")[2])
        why = Refusal(fault.status, code, about)
        if fault.in_stream and asked.stream:
            speech = speak(Answer(fault.text), asked, wire.PREFIX)
            pieces = wire.pieces(asked, speech)
            begun = [piece.data for piece in pieces[: cut_place(pieces, "before_finish")]]
            parts = [*begun, fault.body or wire.broken_off(why)]
            plan = Plan(wire.STREAM_TYPE, parts, len(parts), None, True, Answer())
            return self._send(line, plan, (*wire.HEADERS, *fault.headers)) and not came.last
        status = fault.status or 500
        if fault.location is not None:
            reply = Reply(status, b"", "text/html", (("location", fault.location),))
        elif fault.body is not None:
            reply = Reply(status, fault.body, wire.TYPE)
        else:
            reply = wire.refusal(why)
        return self._reply(line, came, reply._replace(headers=(*reply.headers, *fault.headers)), wire)

    def _reply(self, line: Line, came: Came, reply: Reply, wire: Wire | None = None) -> bool:
        own = wire.HEADERS if wire else ()
        line.open(reply.status, reply.type, (*own, *reply.headers), len(reply.body))
        line.write(b"" if came.method == "HEAD" else reply.body)
        return not came.last


def _parsed(raw: bytes) -> Json | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _eighths(document: bytes) -> list[Piece]:
    step = max(1, len(document) // 8)
    cuts = [0, 1, *(step * part for part in range(1, 8)), len(document) - 1, len(document)]
    parts = [document[start:stop] for start, stop in pairwise(cuts)]
    return [Piece(part, finishes=at == 7, counts=at == 7) for at, part in enumerate(parts)]
