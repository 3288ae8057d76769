"""Parts of the bill's tests: models whose answers cost four cents, runs in this process, the books side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Protocol, get_args

from agentctl.cli.documents import run_document
from agentctl.protocols import Observer
from agentctl.providers.routes import Via
from agentctl.runner.assemble import assemble
from agentctl.settings import choose_provider, load_settings
from tests.support.bill.book import Book, book_of
from tests.support.output_schemas import validate
from tests.support.wire.server import Answer, Books, Call, Rates, WireRequest

FOUR_CENTS = 40_000_000
KEY = "sk-bill-0123456789abcdef0123"
TASK = "How much memory is used?"
LOOKUPS = ("system_load", "system_load", "system_memory")

Document = dict[str, Any]
#: The client of this test, for every process that it starts.
CLIENT_VARIABLE = "LLM_CLIENT"


def this_client() -> Via:
    """Return the client by which this test calls models."""
    found = os.environ.get(CLIENT_VARIABLE, "auto")
    return next(via for via in get_args(Via) if via == found)


def lookup(step: int) -> Call:
    """Return a read that was not made before: one that is repeated is asked for its answer."""
    return Call(LOOKUPS[step]) if step < len(LOOKUPS) else Call("list_files", {"limit": step})


class Listening(Protocol):
    """A server that a provider can be pointed at."""

    @property
    def url(self) -> str: ...


class Paid(NamedTuple):
    """A model, its price, and the usage that comes to four cents exactly."""

    format: str
    model: str
    rates: Rates
    input_tokens: int
    output_tokens: int

    def answer(self, text: str = "", calls: tuple[Call, ...] = (), **more: Any) -> Answer:  # noqa: ANN401
        """Return an answer that reports, and is billed, four cents."""
        return Answer(text, calls, **{"input_tokens": self.input_tokens, "output_tokens": self.output_tokens, **more})

    def busy(self, asked: WireRequest, **more: Any) -> Answer:  # noqa: ANN401
        """Answer and call a tool again, for ever: only a limit ends this run."""
        step = 1 + sum(said.role == "assistant" for said in asked.messages)
        return self.answer(f"Step {step}: looking.", (lookup(step),), **more)

    def brief(self, asked: WireRequest, **more: Any) -> Answer:  # noqa: ANN401
        """Look once, then answer."""
        looked = any(said.role == "tool" for said in asked.messages)
        return self.answer("Half of it is used.", **more) if looked else self.busy(asked, **more)


def _rates(tokens_in: str, tokens_out: str) -> Rates:
    return Rates(Decimal(tokens_in), Decimal(tokens_out))


_CLAUDE = Rates(Decimal(5), Decimal(25), Decimal("0.5"), Decimal("6.25"))
#: The first two as litellm's table has them, the third as ``PRICES`` says: Ollama on one's own host costs nothing.
PAID = {
    "openai": Paid("openai", "gpt-4-turbo", _rates("10", "30"), 1000, 1000),
    "anthropic": Paid("anthropic", "claude-opus-4-5", _CLAUDE, 3000, 1000),
    "ollama": Paid("ollama", "llama3.1:latest", _rates("4", "12"), 4000, 2000),
}
#: A cent an answer.
PENNY = Paid("openai", "gpt-4o", _rates("2.5", "10"), 1000, 750)
FORMATS = tuple(PAID)
TARIFF = {paid.model: paid.rates for paid in (*PAID.values(), PENNY)}
PRICES = '[prices]\n"ollama/llama3.1:latest" = { input = 4, output = 12 }\n'


def reaching(server: Listening, format: str, *, key: str = KEY) -> dict[str, str]:
    """Return the environment of a user of one provider, which is the server."""
    return {
        "openai": {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"{server.url}/v1"},
        "anthropic": {"ANTHROPIC_API_KEY": key, "ANTHROPIC_BASE_URL": server.url},
        "ollama": {"OLLAMA_HOST": server.url, "LLM_PROVIDER": "ollama"},
    }[format] | {"LLM_MODEL": PAID[format].model, "AGENTCTL_AGENT": "system"}


def priced(folder: Path, text: str = PRICES) -> Path:
    """Write a configuration with prices that no table has."""
    path = folder / "prices.toml"
    path.write_text(text)
    return path


@dataclass(frozen=True, slots=True)
class Here:
    """A user whose runs take place in this process, with folders of their own; ``observers`` hear of everything."""

    folder: Path
    observers: tuple[Observer, ...] = ()

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def book(self) -> Book:
        """What their ledger says now."""
        return book_of(self.state)

    async def run(
        self, environ: Mapping[str, str], *, task: str = TASK, prices: str = PRICES, **flags: object
    ) -> Document:
        """Run a task with the real parts; return the document that the command line would print.

        There is no sandbox unless asked for: to test that one holds takes as long as all the rest of a run.
        """
        self.folder.mkdir(exist_ok=True)
        folders = {f"AGENTCTL_{kind.upper()}_DIR": str(self.folder / kind) for kind in ("state", "config", "cache")}
        loaded = load_settings(
            flags=flags,
            environ={"AGENTCTL_SANDBOX": "none", CLIENT_VARIABLE: this_client(), **folders, **environ},
            cwd=self.folder,
            config=priced(self.folder, prices),
            remember=False,
        )
        result = await assemble(loaded, choose_provider(loaded), observers=self.observers).run(task)
        document = dict(run_document(result))
        validate(document)
        return document


def assert_accounted(books: Books, book: Book) -> None:
    """Assert that every request in the server's record was held, nothing is open and no bill is missing."""
    asked = [heard.asked for heard in books.chat_requests if heard.asked is not None]
    assert sorted(str(one.clamp) for one in asked) == sorted(str(one.granted_output) for one in book.sent)
    assert set(book.phases) <= {"settled", "void", "doubt"}
    assert book.counted_nano >= books.billed_nano
    assert all(one.nano == 0 for one in book.attempts if one.phase == "void")
    assert all(one.nano >= one.hold_nano for one in book.attempts if one.phase == "doubt")


def assert_within(books: Books, book: Book, limit_nano: int) -> None:
    """Assert that both stay within a limit at every step of the ledger."""
    assert books.billed_nano <= limit_nano
    assert book.most_nano <= limit_nano


def assert_told(document: Document, book: Book) -> None:
    """Assert that the document of the only run agrees with the ledger to the nano-dollar."""
    assert document["cost"]["nano_usd"] == book.nano("settled")
    assert round(document["cost"]["in_doubt_usd"] * 10**9) == book.nano("doubt")
