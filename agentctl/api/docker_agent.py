"""The two agents of the package, from Python: containers, and the machine with its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from agentctl.api.agent import Agent
from agentctl.api.cost_tracker import CostTracker
from agentctl.context.manager import ContextManager
from agentctl.protocols import LLMProvider

if TYPE_CHECKING:
    from agentctl.protocols import Approver, Observer


class DockerAgent(Agent):
    """Answers questions about containers, and changes them where it is allowed to.

    Its arguments are those of ``Agent``.

    Raises:
        UsageError: an argument has the wrong type.

    >>> from agentctl import BuiltinProvider, DockerAgent
    >>> agent = DockerAgent(BuiltinProvider())
    >>> result = agent.execute("Restart the container web")
    >>> result.status, result.error.message
    ('denied', 'builtin only reads. To do it yourself: docker restart web')
    """

    name = "docker"

    def __init__(
        self,
        llm_provider: LLMProvider | None = None,
        cost_tracker: CostTracker | None = None,
        context_manager: ContextManager | None = None,
        *,
        workdir: str | PathLike[str] | None = None,
        approver: Approver | None = None,
        allow: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._take(llm_provider, cost_tracker, context_manager, workdir, approver, allow, labels, observers)


class SystemAgent(DockerAgent):
    """Answers questions about this machine and its files, and changes files where it is allowed to.

    Its arguments are those of ``Agent``.

    Raises:
        UsageError: an argument has the wrong type.

    >>> from agentctl import BuiltinProvider, SystemAgent
    >>> result = SystemAgent(BuiltinProvider()).execute("How much memory is used?")
    >>> result.status, result.agent
    ('done', 'system')
    """

    name = "system"
