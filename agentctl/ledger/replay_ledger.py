"""The ledger of a replayed run: a file of its own, which is gone at the end. The user's ledger holds nothing of it.

It judges as the user's would: holds, charges and limits are those of the recorded calls. What counted in the hour when
the recording began counts in it, too.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import anyio.to_thread

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Ask, Hold
from agentctl.core.errors import StateError
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger.sqlite import SqliteLedger

_BEFORE = "before-the-recording"
_PREFIX = "agentctl-replay-"
_NANO_PER_TOKEN = Decimal("0.001")  # dollars per million tokens: a token for each nano-dollar


class ReplayLedger(SqliteLedger):
    """A ledger in a temporary folder; ``spent_nano`` counts in its hour. Nothing waits for a provider to recover.

    Where there is no folder for temporary files, it is below ``state_dir``.

    Raises:
        StateError: it cannot be there either.
    """

    def __init__(self, *, spent_nano: int, pause_s: float, state_dir: Path) -> None:
        self._folder = _temporary_folder(state_dir)
        self._spent_nano = spent_nano
        super().__init__(self._folder / "ledger.db", pause_s=pause_s)

    async def open_run(
        self,
        run_id: str,
        limits: CostLimit,
        *,
        task: str,
        agent: str,
        labels: Mapping[str, str],
        parent: Parent | Lease | None = None,
        capability: str = "",
    ) -> None:
        """Insert a run and its limits, after what was spent before it; a run above it is in another ledger."""
        if self._spent_nano > 0:
            await self._spend_before()
        await super().open_run(run_id, limits, task=task, agent=agent, labels=labels, capability=capability)

    async def _spend_before(self) -> None:
        nano, self._spent_nano = self._spent_nano, 0
        nothing = CostLimit.model_construct(**dict.fromkeys(CostLimit.model_fields))
        await super().open_run(_BEFORE, nothing, task="", agent="", labels={})
        price = Price(_NANO_PER_TOKEN, _NANO_PER_TOKEN)
        facts = ModelFacts(provider=_BEFORE, model=_BEFORE, price=price)
        ask = Ask(_BEFORE, _BEFORE, facts, input_bound=nano, least=1, most=1, hour_limit_nano=None)
        hold = await self.reserve(ask)
        if isinstance(hold, Hold) and await self.mark_sent(hold.id):
            await self.settle(hold.id, Charge(Usage(input_tokens=nano, output_tokens=1), nano, price=price))
        await self.close_run(_BEFORE, "done")

    async def aclose(self) -> None:
        """Close the ledger and remove it."""
        await super().aclose()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(self._folder, ignore_errors=True))


def _temporary_folder(other: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError:
        try:
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=other))
        except OSError as error:
            raise StateError(
                f"the ledger of the replay cannot be created: {(error.strerror or str(error)).lower()}",
                hint="set TMPDIR to a folder that can be written to",
            ) from error
