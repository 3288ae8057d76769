"""What a run is equipped with: the first so many of the tools it would like, those that can be had and may be used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from agentctl.core.errors import SandboxUnavailable
from agentctl.permissions.decision import Permissions
from agentctl.protocols import RunTools, Sandbox
from agentctl.tools.toolbox import LazyToolbox

NEED_SANDBOX = ("run_shell",)

MakeToolbox = Callable[..., LazyToolbox]
"""``toolbox`` of this room, with everything said but ``names`` and ``sandbox``."""


async def equip(
    ranked: Sequence[str] | None,
    most: int,
    *,
    make: MakeToolbox,
    permissions: Permissions,
    open_sandbox: Callable[[], Awaitable[Sandbox]],
    insist: bool = False,
) -> RunTools:
    """Return the first ``most`` of the tools ``ranked`` that a run may use and that work here; None: all, for lookups.

    A sandbox is opened only if a tool among them needs one. Where none can be had, such tools are left out, the next
    ones move up, and the kit says so.

    Raises:
        SandboxUnavailable: ``insist`` (a boundary was asked for by name), or the user asked for such a tool by name.
    """
    if insist and ranked is None:
        await open_sandbox()
    if ranked is None:
        return RunTools(make(names=None))
    left_out: dict[str, SandboxUnavailable] = {}
    sandbox: Sandbox | None = None
    if insist or any(name in NEED_SANDBOX for name in _first(ranked, most, make(names=ranked), permissions)):
        try:
            sandbox = await open_sandbox()
        except SandboxUnavailable as error:
            if insist or permissions.only is not None:
                raise
            left_out = dict.fromkeys((name for name in ranked if name in NEED_SANDBOX), error)
    there = [name for name in ranked if name not in left_out]
    chosen = _first(there, most, make(names=there, sandbox=sandbox), permissions)
    if sandbox is None:
        chosen = [name for name in chosen if name not in NEED_SANDBOX]
    box = make(names=chosen, sandbox=sandbox)
    return (
        RunTools(box, None, left_out) if sandbox is None else RunTools(box, sandbox.tier, left_out, sandbox.unreported)
    )


def _first(names: Sequence[str], most: int, box: LazyToolbox, permissions: Permissions) -> list[str]:
    """Return the first ``most`` names of tools that are not withheld; no more of them than needed are loaded."""
    found: list[str] = []
    for name in names:
        if len(found) == most:
            break
        tool = box.get(name)
        if permissions.why_withheld(name, tool.effect) is None:
            found.append(name)
    return found


__all__ = ["NEED_SANDBOX", "MakeToolbox", "equip"]
