"""``--schema`` on the command line: what it is given, what stdout holds, and what a resumed run keeps of it."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentctl.cli.app import main
from agentctl.core.errors import AuthFailed
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.assemble import assemble
from agentctl.runner.orchestrator import Orchestrator
from tests.support.command_line import Ended
from tests.support.scripted_cli import PRICED, answer, call

SCHEMA = "used:int"
RIGHT = answer('```json\n{"used": 7}\n```')
MEMORY = "How much memory is used?"


class Desk:
    """Runs of this process whose model is a script."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.provider = ScriptedProvider([])

    def __call__(self, script: list[Any], *words: str) -> Ended:
        self.provider = ScriptedProvider(script, facts=PRICED)

        def parts(*given: Any, **named: Any) -> Orchestrator:  # noqa: ANN401
            return assemble(*given, provider=self.provider, **named)

        code = main((*words, "--provider", "builtin") if words[0] == "run" else words, assemble=parts)
        captured = self._capsys.readouterr()
        return Ended(code, captured.out, captured.err)


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENTCTL_SANDBOX", "none")
    yield Desk(capsys)
    gc.enable()
    gc.unfreeze()


def last_started(state: Path) -> dict[str, Any]:
    """Return the last event of a part's start."""
    journals = sorted((state / "runs").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    events: list[dict[str, Any]] = [json.loads(line) for line in journals[-1].read_text().splitlines()]
    return [event for event in events if event["event"] in ("run_started", "run_resumed")][-1]


@pytest.mark.parametrize("given", [SCHEMA, "{text}", "s.json", "{path}"])
def test_stdout_is_the_value_alone_on_one_line_however_the_schema_is_given(
    desk: Desk, tmp_path: Path, given: str
) -> None:
    text = '{"type": "object",\n "properties": {"used": {"type": "integer"}}, "required": ["used"]}'
    (tmp_path / "s.json").write_text(text)
    given = given.replace("{text}", text).replace("{path}", str(tmp_path / "s.json"))
    ended = desk([call("system_memory"), RIGHT], "run", "--schema", given, MEMORY)
    assert (ended.code, ended.out) == (0, '{"used":7}\n')


def test_json_output_has_the_value_and_the_answer(desk: Desk) -> None:
    document = desk([RIGHT], "run", "--json", "--schema", SCHEMA, MEMORY).document
    assert (document["status"], document["structured"], document["answer"]) == ("done", {"used": 7}, '{"used":7}')


@pytest.mark.parametrize(("flags", "asked"), [((), 4), (("--schema-retries", "0"), 2), (("--schema-retries", "1"), 3)])
def test_an_answer_that_is_never_right_is_sent_back_that_often(desk: Desk, flags: tuple[str, ...], asked: int) -> None:
    ended = desk([answer("Half.")] * 9, "run", "--json", "--schema", SCHEMA, *flags, MEMORY)
    document = ended.document
    assert (ended.code, document["error"]["kind"], document["structured"]) == (1, "schema", None)
    assert (document["answer"], document["complete"]) == ("Half.", False)
    assert len(desk.provider.heard) == asked


def test_text_output_of_an_answer_that_is_never_right_is_empty(desk: Desk) -> None:
    ended = desk([answer("Half.")] * 9, "run", "--schema", SCHEMA, MEMORY)
    assert (ended.code, ended.out) == (1, "")
    assert "--- so far ---\nHalf.\n" in ended.err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ('{"type": "object", "properties": {"a": {"type": "strin"}}}', "--schema /properties/a/type: 'strin' is not"),
        ('{"type": "array"}', "--schema /type: the root is of type array; an answer is an object"),
        ('{"type": "object", "$ref": "http://h/s"}', "--schema /$ref: http://h/s is not a pointer into this schema"),
        ("missing.json", "--schema missing.json cannot be read: No such file or directory"),
        ("", "--schema is empty"),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",), ("--estimate",)], ids=["text", "json", "estimate"])
def test_a_broken_schema_is_refused_before_anything_is_sent(
    desk: Desk, state: Path, given: str, says: str, form: tuple[str, ...]
) -> None:
    ended = desk([RIGHT], "run", *form, "--schema", given, MEMORY)
    assert ended.code == 2
    assert says in (ended.document["error"]["message"] if form == ("--json",) else ended.err)
    assert not desk.provider.heard
    assert not list(state.rglob("*.jsonl"))


def test_a_resumed_run_keeps_its_schema_though_the_file_is_gone(desk: Desk, state: Path, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type":"object","properties":{"used":{"type":"integer"}},"required":["used"]}')
    refused = AuthFailed("the key was rejected", billed="no")
    assert desk([call("system_memory"), refused], "run", "--schema", "s.json", MEMORY).code == 77
    kept = last_started(state)["flags"]["schema"]
    assert json.loads(kept) == json.loads((tmp_path / "s.json").read_text())
    (tmp_path / "s.json").unlink()
    ended = desk([answer("Half."), RIGHT], "run", "--resume", last_started(state)["run_id"])
    assert (ended.code, ended.out) == (0, '{"used":7}\n')
    assert last_started(state)["flags"]["schema"] == kept


def test_a_run_that_goes_on_may_have_another_schema(desk: Desk, state: Path) -> None:
    assert desk([RIGHT], "run", "--schema", SCHEMA, MEMORY).code == 0
    more = desk([answer('{"percent": 50}')], "run", "-c", "--accept-changes", "--schema", "percent:int", "In percent?")
    assert (more.code, more.out) == (0, '{"percent":50}\n')
    assert "percent" in last_started(state)["flags"]["schema"]
