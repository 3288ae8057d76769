"""Replay a recorded run: its requests are answered from the cassette, by the hash of their normal form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar

from agentctl.core.events import Record
from agentctl.core.messages import ToolCall
from agentctl.core.results import ErrorInfo, LimitUse
from agentctl.core.text import safe_text
from agentctl.providers.cassettes.cassette_file import Cassette, CassetteError, Line, read_cassette, shell_name
from agentctl.providers.cassettes.lane import Lane, RecordedResult
from agentctl.providers.cassettes.misses import explain_miss, first_difference
from agentctl.providers.cassettes.normal_form import digest
from agentctl.providers.network import REPLAY_KEY, Network

if TYPE_CHECKING:
    import httpx

    from agentctl.core.errors import AgentctlError
    from agentctl.providers.cassettes.transports import Found
    from agentctl.settings import Loaded, ProviderChoice

T = TypeVar("T")
Timing = Literal["real", "none"]

_RUN_ANYWAY = frozenset({"delegate"})
_UNFINISHED = frozenset({"interrupted", "terminated", "hung_up", "timeout", "reader_gone"})
_KEPT = _UNFINISHED | {"internal", "state"}


class _Kept(NamedTuple):
    """A recorded attempt or tool call: its number among those of its kind, from 1, and its line."""

    number: int
    line: Line


class CassetteReplay:
    """A cassette that is replayed: what was recorded is given back once, by lane.

    ``timing`` "real" waits as the recording did. ``with_tools``: the results of tools come from it, too. ``ledger`` is
    the file that the runs of the replay share.

    Raises:
        UsageError: the cassette cannot be used.
    """

    def __init__(self, name: str | Path, *, timing: Timing = "none", with_tools: bool = False) -> None:
        self.cassette: Cassette = read_cassette(name)
        self.timing, self.with_tools = timing, with_tools
        self.attempts = _by_lane(self.cassette, "attempt")
        self.tools = _by_lane(self.cassette, "tool")
        self.facts = {(line["lane"], line["name"]): line.get("value") for line in self.cassette.of("fact")}
        self.used: set[tuple[str, int]] = set()
        self.misses: dict[str, CassetteError] = {}
        self.asked = 0
        self.ledger: Path | None = None

    @property
    def hour_nano(self) -> int:
        """What counted in the hour when the recording began, in nano-dollars."""
        found = next((line.get("hour_nano") for line in self.cassette.of("run")), 0)
        return found if isinstance(found, int) else 0

    def lost(self, lane: str, error: CassetteError) -> CassetteError:
        """Return the error for what was not recorded; the first one of each lane is kept."""
        self.misses.setdefault(lane, error)
        return error

    def choice(self, loaded: Loaded) -> ProviderChoice | None:
        """Return the provider and the model of the recording, None if the user's flags name others."""
        from agentctl.settings import ProviderChoice  # noqa: PLC0415 - settings are loaded by now

        first = next((line for line in self.cassette.of("provider") if line["lane"] == ""), None)
        if first is None:
            return None
        given = {
            name: getattr(loaded.settings, name)
            for name in ("llm_provider", "llm_model")
            if loaded.sources[name].kind == "flag"
        }
        provider, model = str(first["provider"]), str(first["model"])
        if given.get("llm_provider", provider) != provider or given.get("llm_model", model) != model:
            return None
        return ProviderChoice(provider, model, f"cassette {safe_text(self.cassette.path.name)}")

    def apply(self, loaded: Loaded) -> Loaded:
        """Return the settings with the addresses of the recording, and a word for each key: none is used."""
        changes: dict[str, Any] = {}
        fields = type(loaded.settings).model_fields
        access: dict[str, tuple[str, str]] = {}
        for line in self.cassette.of("provider"):
            name, url = str(line["provider"]), str(line["base_url"])
            access[name] = (REPLAY_KEY, url)
            if f"{name}_api_key" in fields:  # by which providers and fallbacks are chosen
                from pydantic import SecretStr  # noqa: PLC0415 - settings have loaded it

                changes[f"{name}_api_key"] = SecretStr(REPLAY_KEY)
            if name == "ollama":
                changes["ollama_host"] = url or fields["ollama_host"].default
            elif f"{name}_base_url" in fields:
                changes[f"{name}_base_url"] = url or None
        tiers = {line.get("sandbox") for line in self.cassette.of("run")} - {None}
        if self.with_tools and tiers:
            changes["sandbox"] = "none"  # no command runs, so none is needed
        settings = loaded.settings.model_copy(update=changes)
        return replace(loaded, settings=settings, access=access, telemetry=None)  # which would be sent, too


def _by_lane(cassette: Cassette, kind: str) -> Mapping[str, list[_Kept]]:
    found: dict[str, list[_Kept]] = {}
    for number, line in enumerate(cassette.of(kind), 1):
        found.setdefault(str(line["lane"]), []).append(_Kept(number, line))
    return found


class ReplayLane(Lane):
    """One run of a replay."""

    replays = True

    def __init__(self, replay: CassetteReplay, name: str = "", *, parent: Lane | None = None) -> None:
        super().__init__(name, parent=parent)
        self.replay = replay

    @property
    def path(self) -> Path:
        """The file."""
        return self.replay.cassette.path

    def end_error(self, error: AgentctlError | None) -> AgentctlError | None:
        """Return the first thing that was not recorded, if there is one: a run that goes on without it is no replay.

        The first run also ends with what its delegated runs missed. What ended a run from outside stays its error.
        """
        if error is not None and error.status in _KEPT:
            return error
        misses = self.replay.misses
        return (misses.get(self.name) if self.name else next(iter(misses.values()), None)) or error

    def _open(self, name: str) -> Self:
        return type(self)(self.replay, name, parent=self)

    def network(self, provider: str, model: str | None, base_url: str, client: str | None) -> Network:
        """Return a network that answers from the cassette."""
        return ReplayNetwork(self)

    async def observe(self, record: Record) -> None:
        """Take nothing."""

    def notes(self, limits: Sequence[LimitUse] = ()) -> tuple[str, ...]:
        """Return what the user should know of the cassette."""
        flaw = self.replay.cassette.flaw
        return (f"the cassette {self.path} is incomplete: {flaw}",) if flaw and not self.name else ()

    async def pause(self, seconds: float) -> None:
        """Wait between two attempts as the recording did, or not at all."""
        await super().pause(seconds if self.replay.timing == "real" else 0)

    def take(self, body: bytes) -> Found:
        """Return the recorded attempt for a request: the first of those with its hash that was not used.

        Raises:
            CassetteError: there is none.
        """
        from agentctl.providers.cassettes.transports import Found  # noqa: PLC0415 - needs httpx

        replay = self.replay
        replay.asked += 1
        given = self.normal.request(json.loads(body))
        wanted, kept = digest(given), replay.attempts.get(self.name, [])
        unused = [one for one in kept if (self.name, one.number) not in replay.used]
        for one in unused:
            if one.line["sha256"] == wanted:
                replay.used.add((self.name, one.number))
                return Found(one.line, waits=replay.timing == "real", outcome=self._outcome(one, kept))
        same = [one for one in kept if one.line["sha256"] == wanted]
        near = same or unused or kept
        requests: list[Any] = [one.line["request"] for one in near]
        missed = explain_miss(given, requests, [one.number for one in near], what=f"request {replay.asked}")
        raise replay.lost(self.name, missed)

    def _outcome(self, one: _Kept, kept: list[_Kept]) -> Exception:
        """Return what an answer that stops is: the silence of a server, or the end of the recording."""
        if one.line["end"] != "closed":
            return TimeoutError()
        ends = (line for line in self.replay.cassette.of("end") if line["lane"] == self.name)
        status = next((line["status"] for line in ends), None)
        if one is kept[-1] and (status is None or status in _UNFINISHED):
            said = f"recording {one.number} was interrupted in its answer"
            return self.replay.lost(self.name, CassetteError(said, hint=f"record it again: rm {shell_name(self.path)}"))
        return TimeoutError()

    def take_tool(self, call: ToolCall) -> RecordedResult | None:
        """Return the recorded result of a tool call: the first one with these arguments that was not used.

        Return None where tools run. A delegated run is a run of its own, and is replayed as one.

        Raises:
            CassetteError: there is none.
        """
        replay = self.replay
        if not replay.with_tools or call.name in _RUN_ANYWAY:
            return None
        given = {"tool": call.name, "arguments": self.normal.arguments(call.arguments)}
        kept = replay.tools.get(self.name, [])
        unused = [one for one in kept if (f"tool {self.name}", one.number) not in replay.used]
        for one in unused:
            if first_difference(_call_of(one), given) is None:
                replay.used.add((f"tool {self.name}", one.number))
                return RecordedResult(str(one.line["text"]), _error_of(one.line.get("error")))
        near = [one for one in unused if one.line["tool"] == call.name] or unused
        what = f"the call of {safe_text(call.name)}"
        missed = explain_miss(given, [*map(_call_of, near)], [one.number for one in near], what=what)
        raise replay.lost(self.name, missed)


def _call_of(kept: _Kept) -> dict[str, object]:
    return {"tool": kept.line["tool"], "arguments": kept.line["arguments"]}


def _error_of(value: object) -> ErrorInfo | None:
    if not isinstance(value, Mapping):
        return None
    return ErrorInfo(*(str(value.get(name, "")) for name in ("kind", "message", "hint")))


class ReplayNetwork(Network):
    """The network of a provider, answered from a cassette: no connection is opened."""

    is_live = False

    def __init__(self, lane: ReplayLane) -> None:
        self._lane = lane

    def connect(self, url: str) -> httpx.AsyncBaseTransport:
        """Return what answers in place of connections."""
        from agentctl.providers.cassettes.transports import ReplayTransport  # noqa: PLC0415 - needs httpx

        return ReplayTransport(self)

    def ask(self, name: str, question: Callable[[], T], *, missing: T) -> T:
        """Return the recorded answer."""
        found: Any = self._lane.replay.facts.get((self._lane.name, name), missing)
        return found  # type: ignore[no-any-return]  # JSON

    def take(self, body: bytes) -> Found:
        """Return the recorded attempt for a request.

        Raises:
            CassetteError: there is none.
        """
        return self._lane.take(body)
