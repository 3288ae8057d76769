"""The server's record: connections, requests and bills. No number comes from the client."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from tests.support.wire.script import Format, Json, WireRequest


class Tokens(NamedTuple):
    """Tokens by class; ``input`` includes cached and cache_write, ``output`` includes reasoning.

    ``cache_write`` includes ``cache_hour``, what is kept for an hour and not for five minutes.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cache_hour: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per million tokens; a class that is None costs what its parent class costs.

    ``above``: a request with more input tokens than this is billed wholly by the rates beside it. ``search`` is in
    dollars for each search that the provider made by itself.
    """

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    cache_hour: Decimal | None = None
    search: Decimal = Decimal(0)
    above: tuple[int, Rates] | None = None

    def nano(self, tokens: Tokens, searches: int = 0) -> int:
        """Return what ``tokens`` and ``searches`` cost in nano-dollars, rounded up once."""
        if self.above is not None and tokens.input > self.above[0]:
            return self.above[1].nano(tokens, searches)
        written = self.input if self.cache_write is None else self.cache_write
        parts = (
            (searches * 1_000_000, self.search),
            (tokens.input - tokens.cached - tokens.cache_write, self.input),
            (tokens.cached, self.input if self.cached is None else self.cached),
            (tokens.cache_write - tokens.cache_hour, written),
            (tokens.cache_hour, written if self.cache_hour is None else self.cache_hour),
            (tokens.output - tokens.reasoning, self.output),
            (tokens.reasoning, self.output if self.reasoning is None else self.reasoning),
        )
        return math.ceil(sum((count * Fraction(unit) for count, unit in parts), Fraction(0)) * 1000)

    def dearest_nano(self, tokens: Tokens) -> int:
        """Return what so many tokens cost in nano-dollars if each is of the dearest class."""
        if self.above is not None and tokens.input > self.above[0]:
            return self.above[1].dearest_nano(tokens)
        given = max(self.input, self.cached or 0, self.cache_write or 0, self.cache_hour or 0)
        spoken = max(self.output, self.reasoning or 0)
        return math.ceil((tokens.input * Fraction(given) + tokens.output * Fraction(spoken)) * 1000)


Broken = Literal["clamp", "bound", "model", "bill", "twice", "refusal"]
Tariff = Rates | Mapping[str, Rates] | Callable[[WireRequest], Rates]  # a mapping is by path, model or format
FREE = Rates(Decimal(0), Decimal(0))


def rates_for(tariff: Tariff, asked: WireRequest) -> Rates:
    """Return the rates that apply to ``asked``; what a mapping does not name is free."""
    if isinstance(tariff, Rates):
        return tariff
    if isinstance(tariff, Mapping):
        keys = (asked.path, asked.model, asked.format)
        return next((tariff[key] for key in keys if key in tariff), FREE)
    return tariff(asked)


@dataclass(frozen=True, slots=True)
class Heard:
    """One HTTP request as it came: header names in lower case, ``asked`` only at a chat endpoint."""

    number: int
    connection: int
    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes = field(repr=False)
    body: Json | None = field(repr=False)
    asked: WireRequest | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One bill; ``model`` is the one that answered.

    ``reported_nano`` is what the usage that was told comes to, None if none was told that can be believed, and
    ``dearest_nano`` the same with each token in the dearest class. ``breaks`` is the assumption of the client's promise
    that this bill breaks: "clamp" if more was said than was allowed, "bound" if more was read than the bytes can come
    to, "model" if another one answered, "bill" if it is not for what was reported, "twice", "refusal" if the error that
    was sent should be free.
    """

    number: int
    path: str
    format: Format
    model: str
    tokens: Tokens
    nano: int
    asked: WireRequest = field(repr=False)
    reported_nano: int | None = None
    breaks: Broken | None = None
    dearest_nano: int | None = None


class Books:
    """The record of a server, safe to read and write from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: list[Entry] = []
        self._requests: list[Heard] = []
        self._hung_up: list[Heard] = []
        self._connections = 0
        self._open = 0
        self._most_at_once = 0
        self._watchers: list[Callable[[], None]] = []

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` at each step, in the thread that serves the request: heard, billed, ended, left."""
        self._watchers.append(watcher)

    def _step(self) -> None:
        for watcher in self._watchers:
            watcher()

    @property
    def billed_nano(self) -> int:
        """The sum of all bills in nano-dollars."""
        return sum(entry.nano for entry in self.entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What was billed, in order."""
        with self._changed:
            return tuple(self._entries)

    @property
    def requests(self) -> tuple[Heard, ...]:
        """Every request, in order, also the refused ones."""
        with self._changed:
            return tuple(self._requests)

    @property
    def chat_requests(self) -> tuple[Heard, ...]:
        """The requests that ask the model."""
        return tuple(heard for heard in self.requests if heard.asked is not None)

    @property
    def hung_up(self) -> tuple[Heard, ...]:
        """The requests whose client was gone before the server had written the end."""
        with self._changed:
            return tuple(self._hung_up)

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted."""
        with self._changed:
            return self._connections

    @property
    def most_at_once(self) -> int:
        """The most chat requests that were under way at the same time."""
        with self._changed:
            return self._most_at_once

    def wait(self, until: Callable[[Books], bool], seconds: float = 5.0) -> bool:
        """Wait until a condition holds, for events that the server notices late; False if it never held."""
        with self._changed:
            return self._changed.wait_for(lambda: until(self), seconds)

    def connect(self) -> int:
        """Count a connection and return its number."""
        with self._changed:
            self._connections += 1
            self._changed.notify_all()
            return self._connections

    def hear(self, heard: Heard) -> Heard:
        """Write down a request under the next number."""
        with self._changed:
            number = len(self._requests) + 1
            asked = None if heard.asked is None else replace(heard.asked, number=number)
            kept = replace(heard, number=number, at=time.monotonic(), asked=asked)
            self._requests.append(kept)
            self._changed.notify_all()
        self._step()
        return kept

    def bill(self, entry: Entry) -> None:
        """Write down a bill: whatever happens to the answer, it stands."""
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()
        self._step()

    def leave(self, heard: Heard) -> None:
        """Write down that the client of this request went away."""
        with self._changed:
            self._hung_up.append(heard)
            self._changed.notify_all()
        self._step()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a chat request as under way."""
        with self._changed:
            self._open += 1
            self._most_at_once = max(self._most_at_once, self._open)
        try:
            yield
        finally:
            with self._changed:
                self._open -= 1
            self._step()

    def totals(self) -> dict[str, int]:
        """Return the sums, for readers in another process."""
        return {
            "billed_nano": self.billed_nano,
            "billed": len(self.entries),
            "requests": len(self.requests),
            "chat_requests": len(self.chat_requests),
            "hung_up": len(self.hung_up),
            "connections": self.connections,
            "most_at_once": self.most_at_once,
        }
