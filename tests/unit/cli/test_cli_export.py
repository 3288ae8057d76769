"""``agentctl runs export``: what each form holds of a run, and that a hostile run stays text in all of them."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentctl.cli.runs.export.document import TurnRange, transcript_document
from agentctl.cli.runs.export.html_page import MOST_BYTES, html_page
from agentctl.cli.runs.export.markdown_page import code_span, fence, markdown_page
from agentctl.cli.runs.export.pattern_redaction import PatternRedactor
from agentctl.core.text import safe_text
from tests.support.command_line import Ended
from tests.support.hostile_run import Page, corpus, hostile_script
from tests.support.json_run import JsonRun
from tests.support.otlp_endpoint import read_otlp_json, spans_of_request
from tests.support.output_schemas import validate

Here = Callable[..., Ended]
AT = "2026-11-30T00:00:00.000000Z"
#: All elements that a page may have, and all attributes.
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "dl", "dt", "dd", "table", "tr", "th"),
    *("td", "details", "summary", "pre", "code", "span", "svg", "rect"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "width", "height", "rx", "role", "aria-label"),
}
#: Journals that no version of agentctl writes.
ODD_JOURNALS: list[list[dict[str, Any]]] = [
    [],
    [{"event": "moon_landed"}],
    [{"event": "tool_finished", "call": 7}, {"event": "run_finished"}],
    [{"event": "model_answered", "tool_calls": [1, {"arguments": []}]}, {"event": "call_settled"}],
]


@pytest.fixture
def ran(here: Here) -> Here:
    """A run of three turns, two of them with a tool."""
    assert here("run", "-q", "look around", "--label", "team=web", script="tools").code == 0
    return here


@pytest.fixture
def hostile(json_run: JsonRun, here: Here) -> Iterator[Here]:
    """A run in which every text is hostile, the task and a label too."""
    json_run.run(
        hostile_script(), "--max-cost", "5", "--max-turns", "40", "--tools", "read_file", "--label", "x=<b>&\"'"
    )
    assert json_run.code == 0, json_run.document["error"]
    yield here
    gc.enable()
    gc.unfreeze()


def journal(turns: int, result: str, **more: object) -> list[dict[str, Any]]:
    """Return the records of a run with a tool call in each turn, whose result is the same text."""
    records: list[dict[str, Any]] = [{"event": "run_started", "task": "look", "provider": "p", "at": AT, **more}]
    for turn in range(1, turns + 1):
        call = {"id": "1", "name": "read_file", "arguments": {"path": f"file-{turn}"}}
        records += [
            {"event": "turn_started", "turn": turn, "at": AT},
            {"event": "context_measured", "messages": 2, "tokens": 100 * turn, "limit": 8000},
            {"event": "call_sent", "attempt_id": "a"},
            {"event": "call_settled", "usage": {"input_tokens": 10, "output_tokens": 2}, "cost_nano": 1_000_000 * turn},
            {"event": "model_answered", "text": f"said-{turn}", "tool_calls": [call]},
            {"event": "tool_finished", "call": call, "text": result, "duration_s": 0.5, "error": None},
        ]
    return records


def document_of(records: list[dict[str, Any]], *, results: bool = True, pattern: str | None = None) -> Any:  # noqa: ANN401
    redact = PatternRedactor(None if pattern is None else re.compile(pattern))
    return transcript_document(records, run_id="r1", turns=TurnRange(), results=results, redact=redact)


# --- what is exported -------------------------------------------------------------------------------------------


def test_json_is_the_whole_run_by_its_schema(ran: Here) -> None:
    document = ran("runs", "export", "--format", "json").document
    assert document["schema"] == "agentctl.transcript/1"
    assert (document["status"], document["exit_code"], document["turns_in_all"]) == ("done", 0, 3)
    assert (document["task"], document["answer"], document["labels"]["team"]) == ("look around", "done looking", "web")
    assert document["cost"] == {"usd": 0.039, "nano_usd": 39_000_000, "in_doubt_usd": 0.0}
    first, second, third = document["turns"]
    assert [one["name"] for one in (*first["tools"], *second["tools"], *third["tools"])] == [
        "system_memory",
        "nosuch_tool",
    ]
    assert (first["tools"][0]["failed"], second["tools"][0]["failed"]) == (False, True)
    assert "RAM" in first["tools"][0]["result"]
    assert (first["calls"][0]["outcome"], first["calls"][0]["nano_usd"]) == ("settled", 13_000_000)
    assert first["context"]["limit"] == 8000
    assert first["prompts"][0].startswith("look around")


@pytest.mark.parametrize("form", ["md", "html"])
def test_a_page_has_task_calls_results_answer_and_costs(ran: Here, form: str) -> None:
    text = ran("runs", "export", "--format", form).out
    text = Page(text).text if form == "html" else text
    for words in ("look around", "Looking with system_memory.", "system_memory()", "RAM", "done looking", "$0.013"):
        assert words in text
    assert text.count("done looking") == 1, "the answer, not as the last turn's text too"


def test_html_has_a_closed_element_for_each_tool_call_and_two_bars_for_each_turn(ran: Here) -> None:
    page = Page(ran("runs", "export", "--format", "html").out)
    assert len(page.attributes("summary")) == 2 + 1, "two tools, and what was said to the model"
    assert all("open" not in one for one in page.attributes("details"))
    bars = [one for one in page.attributes("rect") if one["class"] != "track"]
    assert [one["class"] for one in bars] == ["cost", "context"] * 3
    assert all(re.fullmatch(r"[\d.]+%", one["width"] or "") for one in bars)


def test_bars_are_as_long_as_their_share() -> None:
    page = Page(html_page(document_of(journal(4, "x"))).text)
    bars = [(one["class"], one["width"]) for one in page.attributes("rect") if one["class"] != "track"]
    costs = [width for kind, width in bars if kind == "cost"]
    contexts = [width for kind, width in bars if kind == "context"]
    assert (costs, contexts) == (["25.0%", "50.0%", "75.0%", "100.0%"], ["1.2%", "2.5%", "3.8%", "5.0%"])


@pytest.mark.parametrize(
    ("turns", "found"), [("2", [2]), ("2-3", [2, 3]), ("2-", [2, 3]), ("-2", [1, 2]), ("3-9", [3]), (" 1 ", [1])]
)
def test_turns_select(ran: Here, turns: str, found: list[int]) -> None:
    document = ran("runs", "export", "--format", "json", f"--turns={turns}").document
    assert [turn["turn"] for turn in document["turns"]] == found
    assert document["left_out"]["turns"] == 3 - len(found)
    assert (document["answer"] is None) == (3 not in found), "the answer belongs to the last turn"
    assert document["cost"]["nano_usd"] == 39_000_000


@pytest.mark.parametrize("turns", ["0", "3-2", "x", "-", "", "1-2-3", "7", "9-"])
def test_turns_that_do_not_exist_are_a_usage_error(ran: Here, turns: str) -> None:
    ended = ran("runs", "export", f"--turns={turns}")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: --turns ")


def test_no_results_leaves_none_in_any_form(ran: Here) -> None:
    for form in ("md", "html", "json"):
        text = ran("runs", "export", "--format", form, "--no-results").out
        assert "system_memory" in text
        assert "RAM" not in text
        assert "no tool" not in text
    assert ran("runs", "export", "--format", "json", "--no-results").document["left_out"]["results"] == 2


def test_no_results_of_builtin_leaves_its_answer_out(here: Here) -> None:
    assert here("run", "-q", "--provider", "builtin", "How much memory is free?").code == 0
    with_results = here("runs", "export").out
    assert "RAM" in with_results
    for form in ("md", "html", "json"):
        assert "RAM" not in here("runs", "export", "--no-results", "--format", form).out


def test_no_results_cuts_what_an_answer_and_what_agentctl_quoted() -> None:
    records = journal(1, "secret-result")
    records += [
        {"event": "message_added", "message": {"role": "user", "text": "the tools returned secret-result"}},
        {"event": "turn_started", "turn": 2, "at": AT},
        {"event": "run_finished", "result": {"status": "failed", "answer": "I think\nResults so far:\nsecret-result"}},
    ]
    document = document_of(records, results=False)
    assert "secret-result" not in json.dumps(document)
    assert document["answer"] == "I think"
    assert "secret-result" in json.dumps(document_of(records))


def test_redact_replaces_in_every_text_argument_number_and_name() -> None:
    records = journal(1, "result db-1", labels={"db-2": "db-3"}, model="db-4")
    records[0]["task"] = "task db-5"
    call = {"id": "7", "name": "db-6", "arguments": {"db-7": {"deep": ["db-8", 123456, True]}}}
    records += [
        {"event": "noted", "text": "note db-9", "level": "warning"},
        {"event": "model_answered", "text": "text db-10", "tool_calls": [call]},
        {"event": "tool_denied", "call": call, "reason": "denied db-11"},
        {"event": "call_doubted", "reason": "doubt db-12", "nano": 1, "tokens": 1},
        {"event": "run_finished", "result": {"status": "failed", "answer": "answer db-13",
                                             "error": {"kind": "x", "message": "db-14", "hint": "db-15"}}},
    ]  # fmt: skip
    document = document_of(records, pattern=r"db-\d+|123456")
    validate(document)
    for text in (json.dumps(document), markdown_page(document), html_page(document).text):
        assert "db-" not in text
        assert "123456" not in text
        assert text.count("[redacted]") >= 15
    assert document["redactions"] >= 16
    assert document["turns"][0]["tools"][1]["arguments"] == {"[redacted]": {"deep": ["[redacted]", "[redacted]", True]}}


def test_redact_with_a_pattern_that_matches_nothing_changes_nothing() -> None:
    assert document_of(journal(2, "abc"), pattern="x*") == document_of(journal(2, "abc"))


def test_a_pattern_that_is_none_is_a_usage_error(ran: Here) -> None:
    ended = ran("runs", "export", "--redact", "(", "--format", "json")
    assert (ended.code, ended.document["schema"], ended.document["status"]) == (2, "agentctl.error/1", "usage")


def test_a_run_that_has_not_ended_is_exported_as_far_as_it_got() -> None:
    document = document_of(journal(2, "x"))
    validate(document)
    assert (document["status"], document["exit_code"], document["answer"]) == (None, None, None)
    assert document["cost"]["nano_usd"] == 3_000_000
    assert "not ended" in markdown_page(document)


def test_a_journal_of_any_shape_is_exported() -> None:
    for records in ODD_JOURNALS:
        document = document_of(records)
        validate(document)
        assert markdown_page(document)
        Page(html_page(document).text)


# --- where it is written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "begin"), [("a.html", "<!DOCTYPE html>"), ("a.md", "# Run "), ("a.json", "{"), ("a", "# Run ")]
)
def test_the_suffix_of_the_file_chooses_the_form(ran: Here, tmp_path: Path, name: str, begin: str) -> None:
    ended = ran("runs", "export", "-o", name)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert (tmp_path / name).read_text().startswith(begin)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    form = {"a.html": "html", "a.json": "json"}.get(name, "md")
    assert ran("runs", "export", "--format", form, "-o", "-").out == (tmp_path / name).read_text()


def test_a_file_that_cannot_be_written_is_a_usage_error_and_a_pipe_stays(ran: Here, tmp_path: Path) -> None:
    for name in ("nosuch/a.md", "."):
        ended = ran("runs", "export", "-o", name)
        assert (ended.code, ended.out) == (2, "")
        assert "cannot be written" in ended.err
    os.mkfifo(tmp_path / "pipe")  # never a device of the machine: if this goes wrong, it is replaced
    reading = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    (tmp_path / "link").symlink_to("pipe")
    assert ran("runs", "export", "-o", "link").code == 0
    assert (tmp_path / "pipe").is_fifo()
    assert os.read(reading, 6) == b"# Run "
    os.close(reading)


# --- a hostile run ----------------------------------------------------------------------------------------------


def test_html_of_a_hostile_run_has_no_script_no_address_and_a_policy(hostile: Here) -> None:
    text = hostile("runs", "export", "--format", "html").out
    page = Page(text)
    assert page.open == []
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES
    assert len(page.attributes("style")) == len(page.attributes("title")) == len(page.attributes("body")) == 1
    (style,) = page.styles
    assert not re.search(r"url|@import|http|expression|//", style)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    charset, policy, *_ = page.attributes("meta")
    assert charset == {"charset": "utf-8"}
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert "49" not in page.text.split("words-g")[0][-80:], "no text is a template"


def test_html_of_a_hostile_run_shows_every_text_as_it_is(hostile: Here) -> None:
    page = Page(hostile("runs", "export", "--format", "html").out)
    shown = {line for line in page.text.splitlines() if line.strip()}
    for words in corpus():
        for line in safe_text(words.replace("\ud83d", "\ufffd")).splitlines():
            assert not line.strip() or any(line in one for one in shown), line


@pytest.mark.parametrize("form", ["md", "html"])
def test_no_page_has_a_character_that_moves_a_cursor_or_turns_the_writing(hostile: Here, form: str) -> None:
    text = hostile("runs", "export", "--format", form).out
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff]", text) == []


def test_markdown_of_a_hostile_run_keeps_every_text_in_a_fence_or_a_code_span(hostile: Here) -> None:
    outside, closing = [], None
    for line in hostile("runs", "export").out.splitlines():
        if closing is None:
            begun = re.fullmatch(r"(`{3,})(text|json|markdown)", line)
            closing = begun[1] if begun else None
            if begun is None:
                outside.append(re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", line))
        elif line == closing:
            closing = None
    assert closing is None
    allowed = r"|#{1,3} (Run |Turn \d+|Task|Answer|Error)?|- [a-z ]+: ?[\d,]*( of [\d,]+ tokens)?|- |[A-Z][a-z ]+:|"
    assert [line for line in outside if not re.fullmatch(allowed, line)] == []


@pytest.mark.parametrize(
    "words", [*corpus(), "", "`", "````", "a`b``c```d", "ends with `", "~~~", "x\n```\n````y\n`````"]
)
def test_a_fence_is_longer_than_any_inside_and_a_code_span_is_one_line(words: str) -> None:
    lines = fence(words).split("\n")
    ticks = lines[0].removesuffix("text")
    assert set(ticks) == {"`"}
    assert lines[-2] == ticks
    assert ticks not in "\n".join(lines[1:-2])
    span = code_span(words)
    assert "\n" not in span
    mark = re.match("`+", span)
    assert mark is not None
    assert mark[0] not in span[len(mark[0]) : -len(mark[0])].replace(" ", "|").split("`" * (len(mark[0]) + 1))


# --- the size ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "cut"),
    [
        (journal(3, "<" * 500_000), "results are cut after 100,000 characters"),
        (journal(100, "\x1b" * 20_000), "results are cut after"),
        (
            [*journal(1, "x"), {"event": "turn_started"}, {"event": "model_answered", "text": "&" * 600_000}],
            "all texts are cut",
        ),
        (journal(6000, "x" * 10), "all but"),
    ],
    ids=["long results", "many results", "a long text", "many turns"],
)
def test_html_stays_below_two_megabytes_and_says_what_was_cut(records: list[dict[str, Any]], cut: str) -> None:
    page = html_page(document_of(records))
    assert len(page.text.encode()) < MOST_BYTES
    assert cut in page.cut
    assert page.cut in Page(page.text).text
    assert "said-1" in page.text, "the first turn is there"


def test_a_page_that_is_small_enough_is_not_cut() -> None:
    page = html_page(document_of(journal(3, "y" * 500_000)))
    assert (page.cut, page.text.count("y" * 500_000)) == ("", 3)
    assert "below 2 MB" not in page.text


def test_the_spans_of_a_run_are_otlp_json_on_one_line(ran: Here, tmp_path: Path) -> None:
    done = ran("runs", "export", "--format", "otlp", "--redact", "web|system_memory")
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    spans = list(spans_of_request(read_otlp_json(done.out)))
    assert [span.name for span in spans] == [
        *("chat priced", "execute_tool [redacted]", "chat priced", "execute_tool nosuch_tool", "chat priced"),
        "invoke_agent system",
    ]
    assert spans[-1].attributes["agentctl.label.team"] == "[redacted]"
    assert "look around" not in done.out
    assert ran("runs", "export", "--format", "otlp", "-o", "spans.json").code == 0
    assert len(list(spans_of_request(read_otlp_json((tmp_path / "spans.json").read_text())))) == 6


@pytest.mark.parametrize("flags", [("--turns", "1"), ("--no-results",)])
def test_what_leaves_out_texts_does_not_go_with_spans(ran: Here, flags: tuple[str, ...]) -> None:
    done = ran("runs", "export", "--format", "otlp", *flags)
    assert (done.code, done.out) == (2, "")
    assert f"{flags[0]} cannot be combined with --format otlp" in done.err
