"""``agentctl run --schema`` as scripts use it: what stands on stdout, the exit code, and what jq makes of it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentctl.core.answer_schema import read_answer_schema
from tests.bill.test_bill_schema import CASES, LINE, RIGHT, VALUE, WRONG, Case, bodies, is_held, mind
from tests.support import fork_server
from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, TASK, assert_accounted, priced, reaching, this_client
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import WireServer

FIELDS = "used:int,note:string"
ROOM = ("--max-tokens", "none", "--max-output-tokens", "4096")
CUT = '{"used": 7, "no'
LIMIT_NANO = 200_000_000


class Way(NamedTuple):
    """The answers of a model that is asked for one by a schema, the flags, and how the run ends."""

    answers: tuple[str, ...]
    code: int
    kind: str | None = None
    flags: tuple[str, ...] = ()
    is_cut: bool = False


WAYS = {
    "right at once": Way((RIGHT,), 0),
    "right at the second try": Way((WRONG, RIGHT), 0),
    "never right": Way((WRONG,), 1, "schema"),
    "cut": Way((CUT,), 1, "schema", is_cut=True),
    "trip": Way((WRONG,), 3, "budget", ("--max-cost", "0.20", "--schema-retries", "50")),
}


def opened(wire: OpenWire, case: Case, way: Way) -> WireServer:
    """Open a server whose model goes this way; where it is not held to the schema, its first answer is in words."""
    stop = "max_tokens" if case.paid.format == "anthropic" else "length"
    answers = [case.paid.answer(text, stop=stop) if way.is_cut else case.paid.answer(text) for text in way.answers]
    first = [] if case.with_tools else ["Half of it."]
    return wire(mind(case.paid, *first, *answers), rates=case.paid.rates, keys=[KEY])


def environ_of(server: WireServer, case: Case) -> dict[str, str]:
    return reaching(server, case.paid.format) | {"LLM_MODEL": case.paid.model}


@pytest.mark.both_clients
@pytest.mark.parametrize("way", list(WAYS.values()), ids=list(WAYS))
@pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
def test_stdout_has_the_value_alone_or_nothing(
    command: Callable[..., Ended], wire: OpenWire, state: Path, case: Case, way: Way
) -> None:
    server = opened(wire, case, way)
    words = ("--schema", FIELDS, *ROOM, *way.flags)
    ended = command(*words, env=environ_of(server, case))
    assert (ended.code, ended.out) == (way.code, "" if way.code else f"{LINE}\n"), ended.err
    assert ("--- so far ---" in ended.err) is bool(way.code)
    document = command(*words, "--json", env=environ_of(server, case)).document
    assert (document["exit_code"], document["complete"]) == (way.code, way.code == 0)
    assert document["structured"] == (None if way.code else VALUE)
    if way.code != 3:  # what is left to a run that tripped is shown by other tests
        assert document["answer"] == (way.answers[-1] if way.code else LINE)
    assert (document["error"] or {"kind": None})["kind"] == way.kind
    assert_accounted(server.books, book_of(state))


class Line(NamedTuple):
    """A line of a script: the provider, whether it is held to the schema by its own means, and how the run ends."""

    provider: str
    is_native: bool
    way: str

    @property
    def case(self) -> Case:
        case = CASES[self.provider]
        case = case._replace(paid=case.paid._replace(input_tokens=900))  # the turn without tools is short
        return case if self.is_native else case._replace(with_tools="", without="")

    @property
    def schema(self) -> dict[str, Any]:
        """A schema that each provider takes, or, with its lookahead, none does."""
        note = {"type": "string"} if self.is_native else {"type": "string", "pattern": "^(?! ).*$"}
        required = "used" if self.way == BROKEN else ["used", "note"]
        types = {"used": {"type": "integer"}, "note": note}
        return {"type": "object", "properties": types, "required": required, "additionalProperties": False}

    def __str__(self) -> str:
        return f"{self.provider} {'native' if self.is_native else 'in words'}: {self.way}"


BROKEN = "broken schema"
LINES = [Line(*one) for one in product(("openai", "anthropic", "ollama"), (True, False), (*WAYS, BROKEN))]
QUICK = {
    "openai native: right at the second try",
    "openai in words: trip",
    "anthropic native: never right",
    "anthropic in words: right at once",
    "anthropic in words: cut",
    "ollama native: cut",
    "ollama native: trip",
    "ollama in words: right at the second try",
    "ollama in words: broken schema",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take the lines that have each provider both ways and each end once; with ``--full``, all."""
    if "line" in metafunc.fixturenames:
        lines = [line for line in LINES if metafunc.config.getoption("full") or str(line) in QUICK]
        metafunc.parametrize("line", lines, ids=str)


@pytest.mark.needs("jq")
def test_a_line_with_jq_fails_if_the_run_does(tmp_path: Path, state: Path, wire: OpenWire, line: Line) -> None:
    """jq -e ends with 4 where it gets no value, from its version 1.7 on, and with 0 before."""
    way = WAYS.get(line.way, Way((RIGHT,), 2))
    server = opened(wire, line.case, way)
    (tmp_path / "s.json").write_text(json.dumps(line.schema))
    agentctl = fork_server.command(loads="agentctl" if this_client() == "auto" else "litellm")
    words = ("run", "--config", str(priced(tmp_path)), "--schema", "s.json", *ROOM, *way.flags, TASK)
    told = "trap 'echo \"ended ${PIPESTATUS[*]}\" >&2' ERR"
    ended = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{told}\n{agentctl} {shlex.join(words)} | jq -e .\n"],
        cwd=tmp_path,
        env=os.environ | fork_server.ENVIRON | environ_of(server, line.case),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    statuses = [tuple(said.split()[1:]) for said in ended.stderr.splitlines() if said.startswith("ended ")]
    if way.code == 0:
        assert (ended.returncode, statuses) == (0, []), ended.stderr
        assert json.loads(ended.stdout) == VALUE
    else:
        ((run, jq),) = statuses
        assert (ended.stdout, run) == ("", str(way.code)), ended.stderr
        assert ended.returncode == (4 if jq == "4" else way.code)
    if line.way == BROKEN:
        assert "--schema s.json /required: " in ended.stderr
        assert not server.books.chat_requests
        return
    text, asked = read_answer_schema(line.schema).text, [heard.asked for heard in server.books.chat_requests]
    assert any(map(is_held, bodies(server))) is line.is_native
    assert line.is_native or any(one and one.messages[-1].text.endswith(f"\n{text}") for one in asked)
    assert_accounted(server.books, book_of(state))
    assert way.code != 3 or server.books.billed_nano <= book_of(state).most_nano <= LIMIT_NANO
