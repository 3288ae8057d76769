"""Write a transcript as one HTML file: no script, no address, every text escaped, and less than 2 MB."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agentctl.cli.runs.export.figures import call_line, facts, is_said, left_out_lines, tool_line, turn_bars, turn_name
from agentctl.core.text import map_texts, safe_text

if TYPE_CHECKING:
    from jinja2 import Template

    from agentctl.cli.runs.run_documents import TranscriptDocument

MOST_BYTES = 2_000_000  # of a page, all in all: less than that
_LEAST_OF_A_TURN = 400  # bytes of a page for its bars alone


class HtmlPage(NamedTuple):
    """A page, and what was cut to keep it small, as a sentence; "" if nothing was."""

    text: str
    cut: str


class _Cut(NamedTuple):
    """What is kept: characters of each result, characters of each text, turns; None: all of it."""

    results: int | None = None
    texts: int | None = None
    turns: int | None = None

    def __str__(self) -> str:
        """Return what is cut, as a sentence."""
        said = [] if self.results is None else [f"results are cut after {self.results:,} characters"]
        if self.texts is not None:
            said = [f"results are left out, and all texts are cut after {self.texts:,} characters"]
        return ", and ".join([*said, *([] if self.turns is None else [f"all but {self.turns:,} turns are left out"])])

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the document without what is cut."""
        turns = document["turns"]
        if self.turns is not None:
            half = self.turns // 2
            turns = [_without_rest(turn) for turn in (*turns[:half], *turns[-half:])]
        if self.results is not None:
            turns = [
                {**turn, "tools": [{**tool, "result": _cut_result(tool, self.results)} for tool in turn["tools"]]}
                for turn in turns
            ]
        found = {**document, "turns": turns}
        if self.texts is None:
            return found
        most = self.texts
        return _as_document(map_texts(found, lambda words: _shorten(words, most)))


#: From nothing to nearly all: the first one with which the page is small enough is taken.
_CUTS = (
    _Cut(),
    *(_Cut(results) for results in (100_000, 30_000, 10_000, 3_000, 1_000, 300, 0)),
    *(_Cut(0, texts) for texts in (30_000, 3_000, 300)),
    *(_Cut(0, 300, turns) for turns in (1_000, 200)),
    *(_Cut(0, 60, turns) for turns in (100, 10)),
)


def html_page(document: TranscriptDocument) -> HtmlPage:
    """Return the document as HTML; results that make it too large are cut first, then other texts, then turns."""
    page, whole = "", _as_document(document)
    too_many = len(document["turns"]) * _LEAST_OF_A_TURN >= MOST_BYTES
    for cut in _CUTS:
        if too_many and cut.turns is None:
            continue
        short = cut.apply(whole)
        if cut is not _CUTS[-1] and _least_bytes(short) >= MOST_BYTES:
            continue
        page = _render(_as_document(map_texts(short, safe_text)), str(cut))
        if len(page.encode("utf-8")) < MOST_BYTES:
            break
    return HtmlPage(page, str(cut))


def _least_bytes(document: dict[str, Any]) -> int:
    """Return what the page takes at least: its texts, and something for each turn."""
    counted = 0

    def count(words: str) -> str:
        nonlocal counted
        counted += len(words)
        return words

    map_texts(document, count)
    return counted + _LEAST_OF_A_TURN * len(document["turns"])


def _shorten(words: str, kept: int) -> str:
    if len(words) <= kept + 60:  # the note would be as long
        return words
    return f"{words[:kept]}\n[... {len(words) - kept:,} characters left out here ...]"


def _cut_result(tool: dict[str, Any], kept: int) -> str | None:
    return None if tool["result"] is None else _shorten(tool["result"], kept)


def _without_rest(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn with the first of its calls, tools and notes, and without arguments."""
    lists = {name: turn[name][:20] for name in ("prompts", "calls", "tools", "notes")}
    return {**turn, **lists, "tools": [{**tool, "arguments": {}} for tool in lists["tools"]]}


def _as_document(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)  # noqa: S101 - as the document is
    return value


def _render(document: dict[str, Any], cut: str = "") -> str:
    style, template = _style(), _template()
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    from markupsafe import Markup

    note = f"{cut} to keep this page below 2 MB; --format json has everything"
    return template.render(
        document=document,
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        style=Markup(style),  # noqa: S704 - our own file
        facts=list(facts(document)),
        left_out=[*left_out_lines(document), *([note] if cut else [])],
        bars=turn_bars(document),
        call_line=call_line,
        tool_line=tool_line,
        turn_name=turn_name,
        is_said=is_said,
        as_json=lambda value: json.dumps(value, ensure_ascii=False, indent=1),
    )


@cache
def _template() -> Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_beside("page.html"))


@cache
def _style() -> str:
    return _beside("page.css")


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
