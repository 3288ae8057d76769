"""The server: ``with WireServer(script, rates=...) as server`` or ``python -m tests.support.wire.server``."""

from __future__ import annotations

import argparse
import json
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal, Self

from tests.support.wire.answering import Answering, Prompter
from tests.support.wire.books import Books, Entry, Heard, Rates, Tariff, Tokens
from tests.support.wire.line import ClientGone, Line
from tests.support.wire.local_servers import LocalServer
from tests.support.wire.prompt_cache import MarkedCache
from tests.support.wire.script import Answer, Call, Called, Fault, Mind, Said, Script, Step, WireRequest
from tests.support.wire.speech import House
from tests.support.wire.stories import containers, heal, heal_slowly, parallel
from tests.support.wire.windows import Window

__all__ = [
    "Answer", "Books", "Call", "Called", "Entry", "Fault", "Heard", "MarkedCache", "Mind", "Rates", "Said", "Script",
    "Step", "Tariff", "Tokens", "Window", "WireRequest", "WireServer", "containers", "heal", "parallel",
]  # fmt: skip
USUAL = Rates(Decimal(1), Decimal(10))
STORIES = {"containers": containers, "heal": heal_slowly, "parallel": parallel}


class WireServer:
    """Three providers on one port of loopback, open from the start until ``close``.

    ``script`` is a step or a function for every request, or a sequence with one for each; ``repeat`` gives the last one
    again and again. ``rates`` go by path, model or format; ``bill_nano`` is a fixed bill for each answer instead.
    ``keys`` and ``models`` are the accepted ones; None accepts any. ``window`` is what prompts are refused or cut by;
    ``context_length`` is only what Ollama says of its models. ``cache`` bills Anthropic's format as the marks of each
    request say, where an answer names no input of its own. ``like`` gives it the list of models, the window
    (``context_length``) and the refusals of a local server.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        rates: Tariff = USUAL,
        bill_nano: int | None = None,
        keys: Iterable[str] | None = None,
        models: Iterable[str] | None = None,
        repeat: bool = False,
        context_length: int = 131_072,
        window: Window | None = None,
        capabilities: Sequence[str] = ("completion", "tools"),
        port: int = 0,
        cache: MarkedCache | None = None,
        like: LocalServer | Literal[""] = "",
    ) -> None:
        house = House(
            None if keys is None else tuple(keys),
            None if models is None else tuple(models),
            context_length,
            tuple(capabilities),
            like,
        )
        self.books = Books()
        self._answering = Answering(Prompter(script, repeat=repeat), self.books, house, rates, bill_nano, window, cache)
        self._lock = threading.Lock()
        self._talks: dict[threading.Thread, Line] = {}
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._bell, self._rope = socket.socketpair()
        self.port: int = self._listener.getsockname()[1]
        self._door = threading.Thread(target=self._receive, name=f"wire-{self.port}", daemon=True)
        self._door.start()

    @property
    def url(self) -> str:
        """Where it is: the base of Anthropic's and Ollama's clients."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        """The base of OpenAI's clients."""
        return f"{self.url}/v1"

    def play(self, script: Script, *, repeat: bool = False) -> None:
        """Go on with another script."""
        self._answering.prompter = Prompter(script, repeat=repeat)

    def close(self) -> None:
        """End it: no thread and no socket is left.

        Raises:
            Exception: What a function of the script raised.
        """
        if self._closed:
            return
        self._closed = True
        self._rope.send(b"!")
        self._door.join()
        for end in (self._listener, self._bell, self._rope):
            end.close()
        with self._lock:
            talks = dict(self._talks)
        for line in talks.values():
            line.interrupt()
        for thread in talks:
            thread.join(5)
        if late := [thread.name for thread in talks if thread.is_alive()]:
            raise RuntimeError(f"a step of the script does not return: {late}")
        if self._answering.trouble:
            raise self._answering.trouble[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._listener, selectors.EVENT_READ)
            waiting.register(self._bell, selectors.EVENT_READ)
            while not any(key.fileobj is self._bell for key, _ in waiting.select()):
                sock, _ = self._listener.accept()
                line, number = Line(sock), self.books.connect()
                thread = threading.Thread(
                    target=self._talk, args=(line, number), name=f"wire-{self.port}-{number}", daemon=True
                )
                with self._lock:
                    self._talks[thread] = line
                thread.start()

    def _talk(self, line: Line, number: int) -> None:
        try:
            while (came := line.read()) is not None and self._answering.answer(line, came, number):
                pass
        except ClientGone:
            pass  # it did not wait for a refusal
        finally:
            line.close()
            with self._lock:
                del self._talks[threading.current_thread()]


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.support.wire.server", description=__doc__)
    parser.add_argument("--like", choices=("llama.cpp", "vllm", "lm_studio"), default="", help="a local server's lists")
    parser.add_argument("--window", type=int, default=131_072, help="the window that it tells, in tokens")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--story", choices=sorted(STORIES), default="containers", help="how the model answers")
    parser.add_argument("--answer", metavar="TEXT", help="answer this, whatever is asked")
    parser.add_argument("--input-tokens", type=int, help="what each answer of --answer reports")
    parser.add_argument("--output-tokens", type=int)
    parser.add_argument("--key", action="append", help="an accepted key; without any, all are accepted")
    parser.add_argument("--model", action="append", help="a known model; without any, all are known")
    parser.add_argument("--input-price", type=Decimal, default=USUAL.input, help="dollars per million tokens")
    parser.add_argument("--output-price", type=Decimal, default=USUAL.output)
    parser.add_argument("--bill-nano", type=int, help="a fixed bill for each answer, in nano-dollars")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds before the first byte of --answer")
    parser.add_argument("--gap", type=float, default=0.0, help="seconds between its pieces")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Print the address, serve until told to end, then print the books to stderr; GET /_books shows them before."""
    told = _options(words)
    fixed = Answer(
        told.answer or "",
        input_tokens=told.input_tokens,
        output_tokens=told.output_tokens,
        pause_s=told.pause,
        gap_s=told.gap,
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with WireServer(
        STORIES[told.story] if told.answer is None else fixed,
        rates=Rates(told.input_price, told.output_price),
        bill_nano=told.bill_nano,
        keys=told.key,
        models=told.model,
        port=told.port,
        like=told.like,
        context_length=told.window,
    ) as server:
        print(server.url, flush=True)
        ended.wait()
    print(json.dumps(server.books.totals()), file=sys.stderr)


if __name__ == "__main__":
    main()
