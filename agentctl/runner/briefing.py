"""Who takes a task, with which tools to choose from, and what it is told first: the same for a run and its estimate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agentctl.core.errors import UsageError
from agentctl.runner.agents import MOST_TOOLS, AgentSpec, find_agent
from agentctl.runner.plan import Plan
from agentctl.runner.routing import ranked_tools, route


def choose_agent(task: str, plan: Plan, agents: Sequence[AgentSpec]) -> tuple[AgentSpec, str]:
    """Return the agent that the plan names, else the one that fits the task, and what decided it.

    Raises:
        UsageError: there is no task, or no such agent.
    """
    if not task.strip():
        raise UsageError("there is no task", hint='agentctl run "How much disk is free?"')
    if plan.agent is not None:
        return find_agent(plan.agent, agents), plan.agent_chosen_by
    routed = route(task, agents)
    return find_agent(routed.agent, agents), routed.chosen_by


def choose_tools(agent: AgentSpec, task: str, plan: Plan, *, metered: bool) -> tuple[str, ...] | None:
    """Return the tools to choose from, the most needed first; None: all, for what is no language model.

    Raises:
        UsageError: more are named than a model is offered.
    """
    if not metered:
        return None
    names = plan.permissions.only
    if names is None:
        return ranked_tools(agent, task)
    if len(names) > MOST_TOOLS:
        raise UsageError(f"{len(names)} tools are too many for a model", hint=f"name at most {MOST_TOOLS} of them")
    return names


def system_prompt(agent: AgentSpec, plan: Plan, at: datetime) -> str:
    """Return what the model is told before the task."""
    return f"{agent.instructions}\n\nWorkspace: {plan.workdir}. It is {at:%Y-%m-%d %H:%M} UTC."
