"""The tiers' promises, in the documentation and in ``doctor``; and a choice that is never silently weaker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentctl.core.errors import SandboxUnavailable
from agentctl.core.results import TierFailure
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.promises import NEEDS, PROMISES, lines_for
from agentctl.sandbox.select import NoTierAvailable, first_available, tiers_for
from agentctl.sandbox.tiers import TIERS, Candidate, ProbeFacts, SandboxRequest, SandboxTier
from agentctl.sandbox.unsandboxed import Unsandboxed

PAGE = Path(__file__).parents[3] / "docs" / "permissions-and-sandbox.md"


def test_every_tier_has_a_column_the_strongest_first() -> None:
    names = [*(tier.name for tier in TIERS), "none"]
    assert list(NEEDS) == names
    assert {tuple(kept) for kept in PROMISES.values()} == {tuple(names)}


def test_the_table_of_the_documentation_is_the_data() -> None:
    table = re.search(r"^\| A command .*\n\| -.*\n((?:\|.*\n)+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert table is not None
    rows = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in table[1].splitlines()]
    told = {text: dict(zip(NEEDS, cells, strict=True)) for text, *cells in rows}
    assert told.pop("needs") == NEEDS
    assert told == {text: {tier: str(kept[tier]) for tier in NEEDS} for text, kept in PROMISES.items()}


@pytest.mark.parametrize("tier", NEEDS)
def test_a_line_for_each_promise_says_how_far_it_is_kept(tier: str) -> None:
    lines = lines_for(tier)
    assert [line[:6].rstrip() for line in lines] == [kept[tier].degree for kept in PROMISES.values()]
    assert not any("`" in line for line in lines)


def _tier(name: str, failure: str = "") -> SandboxTier:
    async def test() -> ProbeFacts:
        if failure:
            raise SandboxUnavailable(failure, hint=f"mend {name}")
        return ProbeFacts()

    return SandboxTier(name, lambda request: Candidate((), test, lambda facts: Unsandboxed(Path("/"))))


async def test_the_first_tier_that_passes_is_taken_and_the_stronger_ones_are_named(tmp_path: Path) -> None:
    request = SandboxRequest(SandboxConfig(str(tmp_path), str(tmp_path)))
    tiers = (_tier("strong", "it leaks"), _tier("middle", "no such kernel"), _tier("weak"))
    found = await first_available(tiers, request)
    assert found.failures == (
        TierFailure("strong", "it leaks", "mend strong"),
        TierFailure("middle", "no such kernel", "mend middle"),
    )
    with pytest.raises(NoTierAvailable, match=r"^strong: it leaks; middle: no such kernel$") as caught:
        await first_available(tiers[:2], request)
    assert caught.value.failures == found.failures


async def test_a_tier_that_was_named_is_never_replaced_by_a_weaker_one(tmp_path: Path) -> None:
    request = SandboxRequest(SandboxConfig(str(tmp_path), str(tmp_path)))
    tiers = (_tier("bwrap", "it leaks"), _tier("landlock"))
    with pytest.raises(NoTierAvailable, match=r"^it leaks$"):
        await first_available(tiers_for("bwrap", tiers), request)
    assert [tier.name for tier in tiers_for("landlock", tiers)] == ["landlock"]
