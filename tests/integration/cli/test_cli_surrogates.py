"""Half of a UTF-16 pair in what a model says: joined or replaced, so that jq reads every document and record."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.bill.bodies import in_pieces, spoken
from tests.support.bill.parts import reaching
from tests.support.command_line import Commands
from tests.support.machine import need
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Answer

FORMATS = ("openai", "anthropic", "ollama")
WOLF = "\ud83d\udc3a"  # two halves, as two pieces of a stream have them


def jq(document: str, path: str) -> str:
    """Return what jq finds in each document, as JSON."""
    need("jq")
    done = subprocess.run(["jq", "-c", path], input=document, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def said_in(format: str, *pieces: str) -> Answer:
    return Answer(garbage=in_pieces(format, *pieces), input_tokens=1000, output_tokens=20)


@pytest.mark.parametrize("format", FORMATS)
def test_an_emoji_in_two_pieces_is_one_and_half_of_one_is_replaced(
    shell: Commands, wire: OpenWire, format: str
) -> None:
    server = wire(lambda _: said_in(format, "a " + WOLF[0], WOLF[1] + " b" + WOLF[0], " c"))
    user = reaching(server, format)
    assert shell("run", "-q", "say it", **user).out == "a 🐺 b\ufffd c\n"
    records = shell("run", "-q", "-o", "jsonl", "say it", **user).out
    assert jq(records, "select(.answer) | .answer") == '"a 🐺 b\ufffd c"\n'
    pieces = [
        record["text"] for record in map(json.loads, records.splitlines()) if record["event"] == "answer_streamed"
    ]
    assert "".join(pieces) == "a 🐺 b\ufffd c"
    shown = shell("runs", "show", "--json").out
    assert jq(shown, '.records[] | select(.event == "model_answered") | .text') == '"a 🐺 b\ufffd c"\n'


def test_half_a_character_in_a_call_is_replaced_in_the_next_request_too(shell: Commands, wire: OpenWire) -> None:
    arguments = json.dumps({"path": "x" + WOLF[0], WOLF[1]: [WOLF]})
    call = {
        "index": 0,
        "id": "c",
        "type": "function",
        "function": {"name": "list_files", "arguments": arguments},
    }
    looks = Answer(garbage=spoken({"tool_calls": [call]}, finish="tool_calls"), input_tokens=1000, output_tokens=20)
    server = wire([looks, Answer("done")])
    ended = shell("run", "-q", "--json", "look", **reaching(server, "openai"))
    assert (ended.code, jq(ended.out, ".answer")) == (0, '"done"\n')
    asked = (server.books.chat_requests[1].body or {})["messages"]
    (sent,) = [message["tool_calls"][0] for message in asked if message.get("tool_calls")]
    assert json.loads(sent["function"]["arguments"]) == {"path": "x\ufffd", "\ufffd": ["🐺"]}


def test_a_journal_that_holds_half_a_character_is_shown(shell: Commands, state: Path) -> None:
    assert shell("run", "-q", "say it", script="answer").code == 0
    (journal,) = (state / "runs").glob("*.jsonl")
    halves = "a \\ud83d\\udc3a b\\ud83d c\\\\ud83d"  # as an earlier version wrote them
    journal.write_text(journal.read_text().replace("42 containers", halves).replace("say it", "say \\udce9"))
    answer = "a 🐺 b\ufffd c\\ud83d\nof which 7 run"
    assert json.loads(jq(shell("runs", "show", "--json").out, ".records[-1].result.answer")) == answer
    assert json.loads(jq(shell("runs", "show", "-o", "jsonl").out, "select(.result) | .result.answer")) == answer
    assert f"\nanswer:\n{answer}\n" in shell("runs", "show").out
    assert jq(shell("runs", "list", "--json").out, ".runs[0].task") == '"say \ufffd"\n'


def test_what_is_no_utf_8_in_a_folders_name_breaks_no_request_and_no_document(
    shell: Commands, wire: OpenWire, tmp_path: Path
) -> None:
    shell.folder = tmp_path / "caf\udce9"
    shell.folder.mkdir()
    (shell.folder / "na\udcefve").write_text("x")
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "list_files", "arguments": "{}"}}
    looks = Answer(garbage=spoken({"tool_calls": [call]}, finish="tool_calls"), input_tokens=1000, output_tokens=20)
    ended = shell("run", "-q", "-o", "jsonl", "look", **reaching(wire([looks, Answer("done")]), "openai"))
    assert ended.code == 0, ended.err
    assert jq(ended.out, 'select(.event == "run_started") | .workdir') == f'"{tmp_path}/caf\ufffd"\n'
    shown = shell("runs", "show", "--json").out
    for document in (*ended.lines, json.loads(shown)):
        json.dumps(document, ensure_ascii=False).encode()  # jq takes a second half, other programs do not
