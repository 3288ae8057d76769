"""The real command, a provider on the wire: a result is cut, read on by its mark's own words, and shown afterwards."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.bill.parts import KEY, PAID, reaching
from tests.support.command_line import Commands, agentctl, state
from tests.support.large_results import NUMBERED_LINES, find_marked_call
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Answer, Call, WireRequest

__all__ = ["agentctl", "state"]


def test_a_result_of_a_run_is_read_on_and_its_file_is_named_afterwards(
    agentctl: Commands, state: Path, wire: OpenWire, tmp_path: Path
) -> None:
    # a file with an escape is shown otherwise than it is: what was shown is kept
    (tmp_path / "app.log").write_text("\x1b[1m" + NUMBERED_LINES[:40_000])
    asked: list[dict[str, object]] = []

    def model(request: WireRequest) -> Answer:
        results = [said.text for said in request.since_user if said.role == "tool"]
        if not results:
            return Answer("", (Call("read_file", {"path": "app.log"}),))
        if len(results) == 1 and (wanted := find_marked_call(results[0])):
            asked.append(wanted)
            return Answer("", (Call("read_file", wanted),))
        return Answer(results[-1].splitlines()[0])

    server = wire(model, rates=PAID["openai"].rates, keys=[KEY])
    environment = {**reaching(server, "openai"), "AGENTCTL_AGENT": "files"}
    agents = agentctl("agents", "list", "--json").document["agents"]
    named = {agent["name"]: agent["tools"] for agent in agents}
    environment["AGENTCTL_AGENT"] = next(name for name, tools in named.items() if "read_file" in tools)
    ended = agentctl("run", "-q", "Read app.log", **environment)
    assert ended.code == 0, ended.err
    assert asked[0]["path"] == "run:1-read_file.txt"
    assert ended.out == f"line {asked[0]['from_line']}\n"

    [run] = agentctl("runs", "list", "--json").document["runs"]
    kept = state / "runs" / run["run_id"] / "1-read_file.txt"
    assert kept.read_text() == ("\x1b[1m" + NUMBERED_LINES[:40_000]).replace("\x1b", "\\x1b").removesuffix("\n")
    shown = agentctl("runs", "show").out
    assert re.findall(r"^  full result: (.*)$", shown, re.MULTILINE) == [str(kept)]
