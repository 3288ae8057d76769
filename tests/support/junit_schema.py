"""The JUnit format as its two published schemas have it, for documents of ours: what both accept.

``junit-10.xsd`` (Jenkins, xUnit plugin) allows more; ``JUnit.xsd`` (Ant's task, by Windy Road) has the order of
elements, the required attributes and their types. Nothing of agentctl is used here.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.etree import ElementTree as Xml

_TEXT, _SOME, _COUNT, _DECIMAL = r"(?s:.*)", r"(?s:.+)", r"\d+", r"\d+(\.\d+)?"
_AT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"


class _Element(NamedTuple):
    children: str  # their names in order, as a regular expression
    required: dict[str, str]
    optional: dict[str, str]
    has_text: bool = False


_ELEMENTS = {
    "testsuites": _Element("(testsuite )*", {}, {}),
    "testsuite": _Element(
        "properties (testcase )*system-out system-err ",
        {
            **{"name": _SOME, "timestamp": _AT, "hostname": _SOME, "tests": _COUNT, "failures": _COUNT},
            **{"errors": _COUNT, "time": _DECIMAL, "package": _SOME, "id": _COUNT},
        },
        {"skipped": _COUNT},
    ),
    "properties": _Element("(property )*", {}, {}),
    "property": _Element("", {"name": _SOME, "value": _TEXT}, {}),
    "testcase": _Element("(skipped |error |failure )?", {"name": _SOME, "classname": _SOME, "time": _DECIMAL}, {}),
    "skipped": _Element("", {}, {}),
    "error": _Element("", {"type": _SOME}, {"message": _TEXT}, has_text=True),
    "failure": _Element("", {"type": _SOME}, {"message": _TEXT}, has_text=True),
    "system-out": _Element("", {}, {}, has_text=True),
    "system-err": _Element("", {}, {}, has_text=True),
}


def read_junit(text: str) -> Xml.Element:
    """Return the only test suite of a report that is valid by both schemas.

    Raises:
        AssertionError: it is not.
    """
    root = Xml.fromstring(text)  # noqa: S314 - a document of ours
    assert root.tag == "testsuites"
    for element in root.iter():
        _check(element)
    (suite,) = root
    cases = suite.findall("testcase")
    counted = {name: len(suite.findall(f"testcase/{name}")) for name in ("failure", "error", "skipped")}
    said = {"failure": suite.get("failures"), "error": suite.get("errors"), "skipped": suite.get("skipped")}
    assert {name: str(count) for name, count in counted.items()} == said
    assert suite.get("tests") == str(len(cases))
    return suite


def _check(element: Xml.Element) -> None:
    known = _ELEMENTS[element.tag]
    children = "".join(f"{child.tag} " for child in element)
    assert re.fullmatch(known.children, children), (element.tag, children)
    assert known.required.keys() <= element.attrib.keys() <= {*known.required, *known.optional}, element.attrib
    for name, value in element.attrib.items():
        assert re.fullmatch({**known.required, **known.optional}[name], value), (element.tag, name, value)
    assert known.has_text or not (element.text or "").strip(), element.tag
