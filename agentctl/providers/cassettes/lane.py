"""The part of a cassette that belongs to one run: what the run's parts ask of it, whether it records or replays.

A run that a run delegates has a lane of its own, named by its agent and its task: runs that work at the same time do
not take each other's answers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from agentctl.core.events import Record
from agentctl.core.messages import ToolCall
from agentctl.core.results import ErrorInfo, LimitUse
from agentctl.providers.cassettes.normal_form import NormalForm, digest
from agentctl.providers.network import Network

if TYPE_CHECKING:
    from agentctl.core.errors import AgentctlError
    from agentctl.settings import Loaded

_LANE_DIGITS = 8


class RecordedResult(NamedTuple):
    """The result of a tool call: the text that the model read, and the error if it failed or was denied."""

    text: str
    error: ErrorInfo | None = None


class Lane:
    """One run's part of a cassette; ``name`` "" is the first run's."""

    replays = False

    def __init__(self, name: str, *, parent: Lane | None = None) -> None:
        self.name = name
        self.normal: NormalForm = NormalForm() if parent is None else parent.normal
        self._children: Counter[str] = Counter()

    def begin(self, run_id: str, loaded: Loaded, workdir: str) -> None:
        """Begin with a run: what differs from run to run is no part of a request."""
        if not self.name:
            state = str(loaded.settings.state_dir)
            self.normal = NormalForm(workdir=workdir, state_dir=state, secrets=loaded.secrets)
        self.normal.name_run(run_id, f"<run{self.name and f' {self.name}'}>")

    def child(self, agent: str, task: str) -> Self:
        """Return the lane of a run that this one delegates."""
        name = f"{self.name}/{agent}-{digest(self.normal.text(task))[:_LANE_DIGITS]}"
        self._children[name] += 1
        times = self._children[name]
        return self._open(name if times == 1 else f"{name}-{times}")

    @property
    @abstractmethod
    def path(self) -> Path:
        """The file."""

    @abstractmethod
    def _open(self, name: str) -> Self:
        """Return the lane with this name."""

    @abstractmethod
    def network(self, provider: str, model: str | None, base_url: str, client: str | None) -> Network:
        """Return the network of a provider of this run."""

    @abstractmethod
    async def observe(self, record: Record) -> None:
        """Take a record of the run."""

    @abstractmethod
    def notes(self, limits: Sequence[LimitUse] = ()) -> tuple[str, ...]:
        """Return what is to be said of the cassette at the end of the run, of which ``limits`` are the uses."""

    async def pause(self, seconds: float) -> None:
        """Wait between two attempts."""
        import anyio  # noqa: PLC0415 - not at the start of a command

        await anyio.sleep(seconds)

    def take_tool(self, call: ToolCall) -> RecordedResult | None:
        """Return the recorded result of a tool call, None where tools run.

        Raises:
            CassetteError: it was not recorded.
        """
        return None

    def end_error(self, error: AgentctlError | None) -> AgentctlError | None:
        """Return the error that the run ends with, of which ``error`` is its own, if it has one."""
        return error
