"""``agentctl help budget``."""

from __future__ import annotations

from agentctl.settings import ENV_NAMES, Settings
from agentctl.settings.names import flag_name

_LIMITS = {
    "max_cost_per_task": "USD",
    "max_cost_per_hour": "USD",
    "max_tokens_per_task": "tokens",
    "max_cost_per_minute": "USD",
    "max_cost_per_day": "USD",
    "max_cost_per_month": "USD",
    "max_calls_per_minute": "calls",
}

_BUDGET = """\
What is promised: no request is sent unless, in one transaction of the ledger, what is spent + in doubt + held + the
request's own worst case stays within every limit: its run's dollars, its run's tokens, those of each run above it, and
the dollars of the last hour (and of any other window that is set) over all runs of this user. It assumes that the price
table is right, that the model that was asked answers or one that costs no more, that the provider keeps to the most
output tokens it was given, bills a request at most once for the usage it reports and no refused request, and that the
wall clock is right across a reboot. What breaks an assumption is recorded in full and stops the spending.

LIMITS
"none" lifts one limit; a warning comes at 80 %. Minute, hour, day (24 hours) and month (30 days) are windows that move
along; each binds the runs that carry it, over the spending of all. The calls of a minute are the run's own.

  agentctl run --max-cost 0.10 "Which container uses the most memory, and why?"
  agentctl run --max-cost 0.10 --max-cost-per-hour 1 --max-tokens 20000 "Why is the disk so full?"
  agentctl run --max-cost 0 "Why is the disk so full?"          free models only
  agentctl run --estimate "Why is the disk so full?"            what it could cost; nothing is sent

The words:

  hold       the worst case of a request, reserved before it is sent; other runs see it at once
  charge     what it cost, written as soon as the usage is known; the rest of the hold is free again
  in doubt   sent, and nobody knows what it cost (connection lost, process killed): counts as spent, at the worst case
  void       surely free: no byte of the request was sent, or the provider refused it

How a request goes: its input is bounded from above and priced; as much output as fits all limits is granted, and goes
out as its most output tokens; it is held, sent, settled. The first answer may have 4096 output tokens (with reasoning
16384); each later turn asks for four times the longest output so far, at least 1024 (4096). An answer that this cuts is
asked for once more with up to the double; --max-output-tokens sets one number for all. Each retry is a request of its
own. A usage report above the hold is recorded in full and ends the run; from then on the model's ceiling is held. One
that contradicts itself is in doubt, and never counts less than what it says. If other runs' holds are in the way it
waits (--budget-wait, 60 s). Two requests in doubt in a row for a model at one address: then a pause, and one probe.
stderr says what is waited for, and how long at most.

A limit trips (exit 3): the request was not sent. From the second turn on some of each limit (an eighth at most) is set
aside for one more, short and without tools, in which the model says what it found; where there is no room for that, the
notes of agentctl itself are shown. stderr names the limit, both numbers, when there is room again, and a whole line to
paste. Then: raise that limit, or wait, or ask for less. A model is told what is left at 50 % and at 80 % of a limit.

  agentctl costs --last-hour                what was spent, by run, and what is left of the hour
  agentctl costs --since 2h --json
  agentctl costs --this-month --by day,model
  agentctl costs --today --label team=web --fail-above 5    exit 3 if more was spent: a gate for CI
  agentctl ledger check                     verify each admission and each charge; what is held, and what is in doubt
  agentctl ledger reprice --since 7d        what it would have cost at today's prices, those of a file, or another model
  agentctl ledger reconcile --run ID --actual 0      give back what is in doubt, once you know that it cost nothing
  agentctl ledger reconcile --from usage.csv         or what the provider's usage export says that it cost
  agentctl ledger reconcile --clock                  believe the wall clock again, after it was wrongly ahead
  agentctl runs show                        each call of the last run, with its tokens and its price

Nested runs: a run that a command of another run starts (--sandbox none) belongs to it. Whatever its own limits are,
each of its requests counts in the run that started it, and in each run above that; the one whose limit refuses is
named. Once a run above has ended, or its process is gone, nothing more is sent (exit 5). It needs the same state
folder, and the AGENTCTL_PARENT_RUN and AGENTCTL_PARENT_CAPABILITY that its parent set. In a sandbox the ledger cannot
be seen: there no run starts (exit 5). `runs show` draws the tree, `costs --run ID` adds it up.

If the ledger is locked or its disk is full when a paid answer comes, the run waits (for a lock up to two minutes), and
then ends with 74: the charge is kept beside the ledger, and the next run settles it.

A model without a known price is refused under a dollar limit (exit 2), with the lines to add to config.toml. Free is
declared: builtin, Ollama on this host, or a price of 0 of yours. Prices are read offline, from litellm's table, with
yours on top:

  agentctl providers list

If another model answers than was asked, the charge is at the dearer price, and from then on so is every hold for that
model name at that address; if the price of the one that answered is unknown, the next request is refused:

  agentctl ledger check                     who answered in the place of whom
  agentctl ledger reconcile --clear-substitute PROVIDER/MODEL      hold its own price again

A request is bounded by its bytes, or by what the one before it was reported as and what is new. Where that would
shorten an answer, wait or trip, OpenAI's own models at OpenAI's own address are counted by their vocabulary instead,
until one reports more than was counted:

  agentctl ledger reconcile --clear-miscount PROVIDER/MODEL        count its input again

Where CI is set the ledger is this runner's only: the hour's limit does not see other runners.
"""


def budget_text() -> str:
    """Return the topic's text."""
    defaults = Settings.model_construct()
    lines = ""
    for field, unit in _LIMITS.items():
        default = getattr(defaults, field)
        value = f"unset ({unit})" if default is None else f"{default} {unit}"
        lines += f"  {field:<21} {value:<14} {flag_name(field):<23} {ENV_NAMES[field][-1]}\n"
    return _BUDGET.replace("LIMITS", lines, 1)
