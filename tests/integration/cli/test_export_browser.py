"""The HTML of a hostile run in a real browser: it asks for nothing, runs nothing, and shows every text."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from agentctl.core.text import safe_text
from tests.support import machine
from tests.support.command_line import Ended
from tests.support.hostile_run import Page, corpus, hostile_script
from tests.support.json_run import JsonRun

Here = Callable[..., Ended]
BROWSER = "chromium-headless-shell"
#: Markup that a page which escapes nothing would have: proves that the browser and the server see what it does.
UNESCAPED = "<!DOCTYPE html><meta charset=utf-8><title>Run x</title><body>"


class Web:
    """A server that is the browser's proxy, too: it serves one page, and remembers what else is asked for."""

    def __init__(self) -> None:
        self.page, self.asked = "", list[str]()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.endswith("/page"):
                    web.asked.append(self.path)
                    self.send_error(404)
                    return
                data = web.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_HEAD = do_CONNECT = do_GET  # noqa: N815 - as the base class calls them

            def log_message(self, format: str, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)


@pytest.fixture
def web() -> Iterator[Web]:
    serving = Web()
    yield serving
    serving.close()


@pytest.fixture
def browse(web: Web, tmp_path: Path, is_full: bool) -> Callable[..., str]:
    """Open the server's page in the browser; return the document that it made of it, or draw it."""
    if not is_full:
        pytest.skip("a real browser is started with --full")
    machine.need(BROWSER)

    def open_page(*words: str, dark: bool = False) -> str:
        arguments = [
            *(BROWSER, "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"),
            f"--user-data-dir={tmp_path / 'browser'}",
            *(f"--proxy-server={web.url}", "--proxy-bypass-list=<-loopback>", "--window-size=1000,1200"),
            *(f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=3000"),
            *(*words, f"{web.url}/page"),
        ]
        environ = {**os.environ, "HOME": str(tmp_path)}
        return subprocess.run(arguments, capture_output=True, timeout=120, check=True, env=environ).stdout.decode()

    return open_page


@pytest.fixture
def exported(web: Web, json_run: JsonRun, here: Here) -> str:
    """The page of a run whose markup would ask the server."""
    json_run.run(hostile_script(web.url), "--max-cost", "5", "--max-turns", "40", "--tools", "read_file")
    return here("runs", "export", "--format", "html").out


def first_pixel(picture: bytes) -> tuple[int, int, int]:
    """Return the colour of the upper left pixel of a PNG; its filter has no effect there."""
    place, data = 8, b""
    while place < len(picture):
        (length,) = struct.unpack(">I", picture[place : place + 4])
        if picture[place + 4 : place + 8] == b"IDAT":
            data += picture[place + 8 : place + 8 + length]
        place += 12 + length
    row = zlib.decompress(data)
    return row[1], row[2], row[3]


def test_a_page_that_escapes_nothing_is_caught(web: Web, browse: Callable[..., str]) -> None:
    web.page = UNESCAPED + "".join(corpus(web.url)[:2])
    shown = browse("--dump-dom")
    assert len(web.asked) >= 2
    assert "<title>stolen</title>" in shown


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_hostile_page_asks_for_nothing_runs_nothing_and_shows_all(
    web: Web, browse: Callable[..., str], exported: str, dark: bool
) -> None:
    web.page = exported
    shown = browse("--dump-dom", dark=dark)
    page = Page(shown)
    assert web.asked == []
    assert not page.attributes("script")
    assert re.search("<title>Run [0-9a-f]+</title>", shown), "no script gave it another one"
    for words in corpus(web.url):
        for line in safe_text(words.replace("\ud83d", "\ufffd")).splitlines():
            assert line.strip() in page.text


@pytest.mark.parametrize(("dark", "colour"), [(False, (255, 255, 255)), (True, (13, 17, 23))], ids=["light", "dark"])
def test_the_page_follows_the_colours_of_the_reader(
    web: Web, browse: Callable[..., str], exported: str, tmp_path: Path, dark: bool, colour: tuple[int, int, int]
) -> None:
    web.page = exported
    browse(f"--screenshot={tmp_path / 'page.png'}", dark=dark)
    assert first_pixel((tmp_path / "page.png").read_bytes()) == colour, "the policy lets its own style through"
    assert web.asked == []
