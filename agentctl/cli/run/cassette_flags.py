"""The flags of ``run`` that record it to a cassette, or replay it from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from agentctl.core.errors import UsageError

if TYPE_CHECKING:
    from agentctl.cli.run.resumed import ResumeRequest
    from agentctl.providers.cassettes.lane import Lane
    from agentctl.settings import Loaded, ProviderChoice

Timing = Literal["real", "none"]
REPLAY = "replay"  # the flag as the journal of a replayed run keeps it


class CassetteRequest(NamedTuple):
    """The cassette that a run is recorded to, or replayed from; one of both is None."""

    record: str | None
    replay: str | None
    timing: Timing = "none"
    with_tools: bool = False

    @property
    def kept_flags(self) -> Mapping[str, object]:
        """What the journal of the run keeps of it."""
        from pathlib import Path

        return {} if self.replay is None else {REPLAY: str(Path(self.replay).absolute())}


def cassette_request(
    record: str | None,
    replay: str | None,
    *,
    timing: Timing | None,
    with_tools: bool,
    estimate: bool,
    resume: ResumeRequest | None,
) -> CassetteRequest | None:
    """Return the cassette that the flags name, None without any.

    Raises:
        UsageError: the flags contradict each other.
    """
    if replay is None and (timing is not None or with_tools):
        flag = "--replay-tools" if with_tools else "--replay-time"
        raise UsageError(f"{flag} is for a replay", hint="name the cassette: --replay FILE")
    if record is None and replay is None:
        return None
    if record is not None and replay is not None:
        raise UsageError("--record cannot be combined with --replay", hint="give one of them")
    flag, name = ("--record", record) if record is not None else ("--replay", replay)
    if name in ("-", ""):
        raise UsageError(f"{flag} needs the name of a file", hint=f"for example: {flag} run.cassette")
    if estimate:
        raise UsageError(f"{flag} cannot be combined with --estimate, which sends nothing", hint="give one of them")
    if replay is not None and resume is not None and not resume.is_fork:
        raise UsageError(
            "--replay cannot be combined with a run that goes on: a replay costs nothing, and its run has a bill",
            hint="add --fork: the replay is then a run of its own",
        )
    return CassetteRequest(record, replay, timing or "none", with_tools)


class Inserted(NamedTuple):
    """A cassette, the settings of its run, and the provider that it names, None where the user's choice counts."""

    cassette: Lane
    loaded: Loaded
    choice: ProviderChoice | None


def insert_cassette(request: CassetteRequest, loaded: Loaded) -> Inserted:
    """Return the cassette of a run; a new one is not created before the run begins.

    Raises:
        UsageError: the cassette cannot be used.
    """
    if request.replay is None:
        from agentctl.providers.cassettes.recording import Recording, RecordingLane

        return Inserted(RecordingLane(Recording(request.record or "")), loaded, None)
    from agentctl.providers.cassettes.replaying import CassetteReplay, ReplayLane

    replay = CassetteReplay(request.replay, timing=request.timing, with_tools=request.with_tools)
    return Inserted(ReplayLane(replay), replay.apply(loaded), replay.choice(loaded))
