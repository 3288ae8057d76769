"""``agentctl run --schema`` as scripts use it: what stands on stdout, the exit code, and what jq makes of it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bill.test_bill_schema import CASES, LINE, RIGHT, VALUE, WRONG, Case, mind
from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, TASK, assert_accounted, priced, reaching
from tests.support.command_line import ROOT, Commands, Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import WireServer

FIELDS = "used:int,note:string"
ROOM = ("--max-tokens", "none", "--max-output-tokens", "4096")
CUT = '{"used": 7, "no'


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
    "trip": Way((WRONG,), 3, "budget", ("--max-cost", "0.30", "--schema-retries", "50")),
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


@pytest.mark.needs("jq")
@pytest.mark.parametrize("name", ["right at the second try", "never right", "trip", "broken schema"])
def test_a_line_with_jq_fails_if_the_run_does(shell: Commands, wire: OpenWire, name: str) -> None:
    """jq -e ends with 4 where it gets no value, from its version 1.7 on, and with 0 before."""
    case, way = CASES["openai"], WAYS.get(name, Way((RIGHT,), 2))
    server = opened(wire, case, way)
    types = {"used": {"type": "integer"}, "note": {"type": "string"}}
    required = "used" if name == "broken schema" else list(types)
    schema = {"type": "object", "properties": types, "required": required, "additionalProperties": False}
    (shell.folder / "s.json").write_text(json.dumps(schema))
    flags = ("--config", str(priced(shell.folder)), "--schema", "s.json", *ROOM, *way.flags)
    line = shlex.join(shell.argv(("run", *flags, TASK), None))
    told = "trap 'echo \"ended ${PIPESTATUS[*]}\" >&2' ERR"
    ended = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{told}\n{line} | jq -ec .\n"],
        cwd=shell.folder,
        env=os.environ | shell.environ | environ_of(server, case) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    statuses = [tuple(said.split()[1:]) for said in ended.stderr.splitlines() if said.startswith("ended ")]
    if way.code == 0:
        assert (ended.stdout, ended.returncode, statuses) == (f"{LINE}\n", 0, []), ended.stderr
        return
    ((run, jq),) = statuses
    assert (ended.stdout, run) == ("", str(way.code)), ended.stderr
    assert ended.returncode == (4 if jq == "4" else way.code)
    if name == "broken schema":
        assert "--schema s.json /required: " in ended.stderr
        assert not server.books.chat_requests
