"""A run as a JUnit XML report: a test suite of one test, whose name is the task.

The elements and attributes are those on which the two schemas in use agree: that of Jenkins (``junit-10.xsd`` of its
xUnit plugin), and the one of Ant's task (``JUnit.xsd``), which is stricter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from agentctl.cli.ci.run_end import RunEnd
from agentctl.cli.exit_codes import ExitStatus
from agentctl.core.pricing import to_usd

#: How a run ends that did not do its task; the other ends say nothing about the task.
_FAILURES = (ExitStatus.failed, ExitStatus.budget, ExitStatus.denied)
_MOST_NAME = 200  # characters
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_report(end: RunEnd, *, now: datetime) -> str:
    """Return the report of a run; one that never began has the time ``now``."""
    from xml.etree import ElementTree as Xml

    is_failure = end.status in _FAILURES
    at = (end.started_at or now).astimezone(UTC)
    seconds = f"{end.duration_s:.3f}"
    root = Xml.Element("testsuites")
    counts = {"failures": str(int(is_failure)), "errors": str(int(not is_failure and not end.is_done)), "skipped": "0"}
    suite = Xml.SubElement(
        root,
        "testsuite",
        {
            **{"name": "agentctl", "package": "agentctl", "id": "0", "hostname": "localhost"},
            **{"timestamp": f"{at:%Y-%m-%dT%H:%M:%S}", "tests": "1", "time": seconds, **counts},
        },
    )
    properties = Xml.SubElement(suite, "properties")
    for name, value in _properties(end):
        Xml.SubElement(properties, "property", {"name": _xml(name), "value": _xml(value)})
    of = f"agentctl.{end.agent}" if end.agent else "agentctl"
    case = Xml.SubElement(suite, "testcase", {"name": _name(end), "classname": _xml(of), "time": seconds})
    what = "\n".join([end.message or end.shown, *(f"hint: {step}" for step in end.steps)])
    if not end.is_done:
        wrong = Xml.SubElement(case, "failure" if is_failure else "error")
        wrong.attrib = {"type": end.kind or end.shown, "message": _xml(end.message or end.shown)}
        wrong.text = _xml(what)
    Xml.SubElement(suite, "system-out").text = _xml(end.answer)
    said = [*([] if end.is_done else [what]), *end.remarks, " · ".join(end.figures)]
    Xml.SubElement(suite, "system-err").text = _xml("\n".join(filter(None, said)))
    Xml.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(root, encoding="unicode")}\n'


def _properties(end: RunEnd) -> Iterator[tuple[str, str]]:
    yield from (("status", end.shown), ("exit_code", str(end.status.value)))
    yield from ((name, value) for name, value in (("run_id", end.run_id), ("model", end.model)) if value)
    for name, nano in (("cost_usd", end.cost_nano), ("in_doubt_usd", end.in_doubt_nano)):
        if nano is not None:
            yield name, f"{to_usd(nano).normalize():f}"
    yield "turns", str(end.turns)
    for row in end.limits:
        yield row.name, f"{row.used} of {row.ceiling}"
    for tool in end.tools:
        yield f"tool.{tool.name}", f"{tool.calls} calls, {tool.failed} failed"
    yield from (("denied", name) for name in end.denied)
    yield from ((f"label.{name}", value) for name, value in end.labels)


def _name(end: RunEnd) -> str:
    """Return the task on one line, cut: a CI system shows it in a list, and compares it with that of earlier runs."""
    line = " ".join(end.task.split())
    return _xml(line if len(line) <= _MOST_NAME else f"{line[: _MOST_NAME - 1]}…") or "run"


def _xml(text: str) -> str:
    """Return text without the characters that XML 1.0 has no way to write."""
    return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
