"""The scope that a run belongs to: the run that started it, a lease that was verified, or none."""

from __future__ import annotations

from dataclasses import replace

from agentctl.budget.breaker import limit_uses
from agentctl.budget.rules import Spend, extra_ceilings
from agentctl.core.errors import LimitName
from agentctl.core.leases import Lease, LeaseError
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.results import LimitUse
from agentctl.runner.plan import Plan
from agentctl.settings import Loaded
from agentctl.settings.lineage import refuse_incomplete


def scope_above(loaded: Loaded) -> Parent | Lease | None:
    """Return what a new run is to be opened below: each place that opens one asks here.

    A lease is verified by its signature, and by the variables of the CI job that it is bound to; the ledger judges its
    time. A nested run draws on the lease of its outermost run.

    Raises:
        LeaseError: the lease is not valid for this job, or there is none and one is required.
        ActionDenied: a run started this process, but the id or capability for its budget is missing.
    """
    settings, parent = loaded.settings, loaded.parent
    refuse_incomplete(parent)
    lease = None if settings.lease is None else verified_lease(loaded, settings.lease)
    if parent is not None:
        wanted = "" if settings.require_lease else None
        return replace(parent, lease_id=wanted if lease is None else lease.id)
    if lease is None and settings.require_lease:
        raise LeaseError(
            "a lease is required, and there is none",
            hint="give one by --lease or AGENTCTL_LEASE: agentctl help fleet",
        )
    return lease


def verified_lease(loaded: Loaded, given: str) -> Lease:
    """Return the terms of the lease that ``given`` names: its text, a file or env:NAME.

    Raises:
        LeaseError: it cannot be read, no trusted key has signed it, or it is bound to another job.
        UsageError: the package for signatures is not installed.
    """
    from agentctl.budget.lease_texts import read_lease  # noqa: PLC0415 - most runs have no lease
    from agentctl.budget.signatures import read_public_key  # noqa: PLC0415
    from agentctl.settings.lease_source import job_variables, read_secret_line  # noqa: PLC0415

    text = read_secret_line(given, "the lease", "agentctl-lease-")
    lease = read_lease(text, [read_public_key(key) for key in loaded.settings.lease_keys])
    lease.refuse_elsewhere(job_variables())
    return lease.terms


def further_limits(limits: CostLimit, parent: Parent | Lease | None) -> tuple[LimitName, ...]:
    """Return the limits of a run beside those that every run has."""
    lease: tuple[LimitName, ...] = ("max_cost_per_lease",) if isinstance(parent, Lease) else ()
    return (*extra_ceilings(limits), *lease)


def all_uses(limits: CostLimit, parent: Parent | Lease | None, spend: Spend) -> tuple[LimitUse, ...]:
    """Return each limit of a run, that of its lease included, and how much of it is used."""
    uses = limit_uses(limits, spend)
    if not isinstance(parent, Lease):
        return uses
    amounts = spend.of("max_cost_per_lease")
    return (*uses, LimitUse("max_cost_per_lease", "nano_usd", parent.nano, amounts.spent + amounts.in_doubt))


def plan_uses(plan: Plan, spend: Spend) -> tuple[LimitUse, ...]:
    """Return what ``all_uses`` does, with the file that tightened a limit."""
    uses = all_uses(plan.limits, plan.parent, spend)
    return tuple(use._replace(set_by=plan.limits_set_by.get(use.name)) for use in uses)
