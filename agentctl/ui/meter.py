"""What a screen knows of a run: a fold over its events."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agentctl.events import (
    CallDoubted,
    CallSent,
    CallSettled,
    Event,
    RunStarted,
    ToolDenied,
    ToolFinished,
    TurnStarted,
)


@dataclass(frozen=True, slots=True)
class Meter:
    """Counts since the run began; amounts are in nano-dollars and tokens."""

    metered: bool = True
    turn: int = 0
    calls: int = 0
    tool_calls: int = 0
    denied: int = 0
    cost_nano: int = 0
    in_doubt_nano: int = 0
    tokens: int = 0


def advance(meter: Meter, event: Event) -> Meter:
    """Return the meter after ``event``."""
    match event:
        case RunStarted():
            return replace(meter, metered=event.metered)
        case TurnStarted():
            return replace(meter, turn=event.turn)
        case CallSent():
            return replace(meter, calls=meter.calls + 1)
        case CallSettled():
            cost = meter.cost_nano + (event.cost_nano or 0)
            return replace(meter, cost_nano=cost, tokens=meter.tokens + event.usage.total_tokens)
        case CallDoubted():
            doubt = meter.in_doubt_nano + (event.nano or 0)
            return replace(meter, in_doubt_nano=doubt, tokens=meter.tokens + event.tokens)
        case ToolFinished():
            return replace(meter, tool_calls=meter.tool_calls + 1)
        case ToolDenied():
            return replace(meter, denied=meter.denied + 1)
        case _:
            return meter
