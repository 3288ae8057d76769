"""Scripted models for the questions that the tests and the README ask."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from tests.support.wire.script import Answer, Call, Said, WireRequest

_GAP = re.compile(r"\s{2,}|\t|\s*\|\s*")


def names_in(result: str) -> tuple[str, ...]:
    """Return the names that a tool's result lists: the first column of a table, or the names in JSON."""
    try:
        rows = json.loads(result)
    except ValueError:
        rows = None
    if isinstance(rows, list):
        found = [row.get("name", row.get("Names", "")) for row in rows if isinstance(row, dict)]
        return tuple(str(name[0] if isinstance(name, list) and name else name).lstrip("/") for name in found if name)
    lines = [_GAP.split(line.strip()) for line in result.splitlines()]
    headed = next((at for at, cells in enumerate(lines) if len(cells) > 1 and cells[0].lower() in _FIRST), None)
    if headed is None:
        return ()
    return tuple(cells[0] for cells in lines[headed + 1 :] if len(cells) > 1 and not set(cells[0]) <= {"-", "=", "─"})


_FIRST = {"name", "names", "tag", "repository", "container", "container id"}


def containers(asked: WireRequest) -> Answer:
    """Answer "List all containers": ask docker_ps, then name what it named."""
    return _look(asked, Call("docker_ps", {"all": True}))


def parallel(asked: WireRequest) -> Answer:
    """Answer a question on containers and images: ask both tools in one turn."""
    return _look(asked, Call("docker_ps", {"all": True}), Call("docker_images", {}))


def heal(asked: WireRequest) -> Answer:
    """Answer "Restart the sick container": find it, read its log, restart it, and say how that went."""
    results = [said.text for said in asked.since_user if said.role == "tool"]
    if not results:
        return Answer("I look which container is sick.", (Call("docker_ps", {"all": True}),))
    sick = next((line.split()[0] for line in results[0].splitlines() if "unhealthy" in line), None)
    if sick is None:
        return Answer("No container is sick.")
    if len(results) == 1:
        return Answer(f"{sick} is unhealthy. What does it say?", (Call("docker_logs", {"name": sick}),))
    if len(results) == 2:
        return Answer("Its log does not explain it, so I restart it.", (Call("docker_restart", {"name": sick}),))
    if results[2].startswith(("denied", "error")):
        return Answer(f"{sick} is unhealthy, and I was not allowed to restart it. By hand: docker restart {sick}")
    return Answer(f"{sick} was unhealthy. I restarted it, and it runs again.")


def heal_slowly(asked: WireRequest) -> Answer:
    """Answer like ``heal``, slowly enough to be watched."""
    return replace(heal(asked), pause_s=0.4, gap_s=0.05)


def pass_trial(asked: WireRequest) -> Answer:
    """Answer each call of a provider trial as it asks: call the tool, or count to the number."""
    if asked.tools:
        given: dict[str, dict[str, object]] = {"report_number": {"number": 7}, "report_word": {"word": "blue"}}
        return Answer(calls=tuple(Call(name, given[name]) for name in asked.tools))
    last = asked.messages[-1].text
    most = 500 if "500" in last else 100 if "100" in last else 5
    text = " ".join(map(str, range(1, most + 1)))
    return Answer(text, output_tokens=2 * most, gap_s=0.05 if most == 100 else 0.0)


def _look(asked: WireRequest, *calls: Call) -> Answer:
    results = [said for said in asked.since_user if said.role == "tool"]
    if results:
        return Answer(" ".join(map(_told, results)))
    offered = tuple(call for call in calls if call.name in asked.tools)
    return Answer(calls=offered) if offered else Answer("I have no tool to look at containers with.")


def _told(result: Said) -> str:
    names = names_in(result.text)
    if not names:
        return f"The tool says: {result.text.strip()[:300]}"
    return f"There are {len(names)}: {', '.join(names)}."
