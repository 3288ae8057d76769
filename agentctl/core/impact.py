"""The impact of a tool call: what it would change, and what is dangerous about it, in words for a person.

A tool describes its call once somebody has to decide on it. The question, the denial and the events carry the same
words. All texts may hold names that others chose: whoever shows them escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

_MOST_DETAILS = 20


class Impact(NamedTuple):
    """What one call would do.

    ``does`` is a clause: ``restarts the container web (id 3f2a…, …)``. ``details`` add to it. ``dangers`` say what a
    person must know before a yes, also that it could not be checked. ``diff`` has the changed lines of a file.
    ``folder`` is where a command runs, ``search_path`` its ``PATH``. ``pinned`` are arguments that bind the call to
    what was shown: the call fails if that has changed.
    """

    does: str = ""
    details: tuple[str, ...] = ()
    dangers: tuple[str, ...] = ()
    diff: str = ""
    folder: str = ""
    search_path: str = ""
    pinned: Mapping[str, object] = MappingProxyType({})


@runtime_checkable
class ImpactAware(Protocol):
    """A tool that can say what a call would change, by the state of things now."""

    async def look_up_impact(self, arguments: Mapping[str, object]) -> Impact:
        """Return the impact of a prepared call; what cannot be looked up is a danger.

        Raises:
            ToolError: the call cannot work.
        """
        ...


class DeniedCall(NamedTuple):
    """A denied call of a run: its tool, why it was denied, and its impact as far as it was looked up.

    ``hook`` is the program of the hook that denied it, "" if none did.
    """

    name: str
    reason: str
    does: str = ""
    details: tuple[str, ...] = ()
    dangers: tuple[str, ...] = ()
    hook: str = ""


def describe_impact(impact: Impact) -> str:
    """Return the impact as sentences: ``It restarts the container web. Danger: privileged.``; "" if none is known."""
    sentences = [f"It {impact.does}."] if impact.does else []
    sentences += [f"{detail[:1].upper()}{detail[1:]}." for detail in impact.details[:_MOST_DETAILS]]
    sentences += [f"Danger: {danger}." for danger in impact.dangers[:_MOST_DETAILS]]
    return " ".join(sentences)
