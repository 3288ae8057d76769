"""Run tasks from Python with an agent of one's own, with the same defaults as the command line."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from agentctl.api.cost_tracker import CostTracker
from agentctl.api.own_spec import own_spec
from agentctl.api.structured import StructuredForm, read_form
from agentctl.context.manager import ContextManager
from agentctl.core.background import run_in_thread
from agentctl.core.errors import UsageError
from agentctl.core.events import LimitWarned, ModelSubstituted, Noted, ObeyedFilesChanged, ProviderReplaced, Record
from agentctl.core.redaction import redact
from agentctl.core.results import RunResult
from agentctl.core.text import safe_text
from agentctl.protocols import LLMProvider
from agentctl.providers.llm_provider import FixedPriceProvider
from agentctl.settings.labels import check_labels

if TYPE_CHECKING:
    from pydantic import BaseModel

    from agentctl.core.answer_schema import AnswerSchema
    from agentctl.protocols import Approver, Observer
    from agentctl.runner.agent_choice import AgentChoice
    from agentctl.runner.agent_spec import AgentSpec
    from agentctl.runner.orchestrator import Orchestrator
    from agentctl.runner.plan import Plan
    from agentctl.settings import Loaded
    from agentctl.tools.function_tool import FunctionTool


_LOG = logging.getLogger("agentctl")
CLOSING_S = 5.0
_USERS: RunVar[Counter[int]] = RunVar("runs of each provider")


class Agent:
    """Runs tasks with instructions and tools of your own. It may be called repeatedly, and from several threads or
    tasks at once; each call is a run of its own, with a journal, in the user's ledger.

    ``tools`` are functions made with ``@tool``, and names of agentctl's own tools or of a package's; it has no others,
    and at most 8. Calls of functions are checked, permitted and journalled as those of our own tools are. Arguments
    that are not given come from the user's settings (environment, .env, config), read again at each call.
    ``llm_provider`` None: chosen as on the command line, with ``builtin`` as the last choice. ``cost_tracker`` sets
    prices, limits and a history file, and adds up costs. ``context_manager`` limits how much of a conversation is
    sent. ``workdir`` is where files are read (None: the setting, else the current folder). ``approver`` is asked
    before a change; without one such a call is denied, unless a rule of ``allow`` (``"docker_restart(name=web)"``) or
    of the settings allows it. ``labels`` are added to those of repository and CI; ``observers`` receive each event.
    Warnings go to the logger "agentctl". The connections of ``llm_provider`` are closed (``aclose``) after the last of
    the runs that use it.

    Raises:
        UsageError: an argument has the wrong type, or a tool does not exist.

    >>> from agentctl import Agent, Completion, ScriptedProvider, ToolCall, tool
    >>> @tool(effect="read")
    ... def stock(item: str) -> int:
    ...     '''Return how many of an item are left.'''
    ...     return {"bolt": 3}.get(item, 0)
    >>> asks = Completion(tool_calls=(ToolCall("1", "stock", {"item": "bolt"}),), stop="tool_calls")
    >>> model = ScriptedProvider([asks, Completion("Three.")])
    >>> agent = Agent("clerk", "You answer from the stock list.", tools=[stock], llm_provider=model)
    >>> result = agent.execute("How many bolts are left?")
    >>> str(result), [(one.name, one.calls) for one in result.tools], result.agent
    ('Three.', [('stock', 1)], 'clerk')
    """

    name: str = ""
    _spec: AgentSpec | None = None
    _tools: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        name: str,
        instructions: str,
        tools: Sequence[FunctionTool[..., Any] | str] = (),
        *,
        llm_provider: LLMProvider | None = None,
        cost_tracker: CostTracker | None = None,
        context_manager: ContextManager | None = None,
        workdir: str | PathLike[str] | None = None,
        approver: Approver | None = None,
        allow: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._spec, self._tools = own_spec(name, instructions, tools)
        self.name = name
        self._take(llm_provider, cost_tracker, context_manager, workdir, approver, allow, labels, observers)

    def _take(
        self,
        llm_provider: LLMProvider | None,
        cost_tracker: CostTracker | None,
        context_manager: ContextManager | None,
        workdir: str | PathLike[str] | None,
        approver: Approver | None,
        allow: Sequence[str],
        labels: Mapping[str, str] | None,
        observers: Sequence[Observer],
    ) -> None:
        """Check and keep what every agent takes.

        Raises:
            UsageError: an argument has the wrong type.
        """
        _check("llm_provider", llm_provider, ("facts", "stream"), 'a provider: create_llm_provider("openai")')
        if context_manager is not None and not isinstance(context_manager, ContextManager):
            said = f"context_manager must be a ContextManager, not {context_manager!r}"
            raise UsageError(said, hint="pass ContextManager(max_tokens=16000)")
        _check("approver", approver, ("approve",), "an object with an async method approve(question)")
        for observer in observers:
            _check("observers", observer, ("observe",), "objects with an async method observe(record)")
        if cost_tracker is not None and not isinstance(cost_tracker, CostTracker):
            raise UsageError(f"cost_tracker must be a CostTracker, not {cost_tracker!r}", hint="pass CostTracker()")
        if isinstance(allow, str):
            raise UsageError(f"allow must be a list of rules, not {allow!r}", hint=f"pass a list: [{allow!r}]")
        self._provider = llm_provider
        self._tracker = cost_tracker
        self._context = context_manager
        self._workdir = None if workdir is None else Path(workdir).expanduser().absolute()
        self._approver = approver
        self._allow = tuple(allow)
        self._labels = check_labels(labels or {})
        self._observers = tuple(observers)

    def execute(
        self, task: str, *, schema: type[BaseModel] | Mapping[str, Any] | str | Path | None = None
    ) -> RunResult:
        """Run ``task`` and return its result, with or without a running event loop; ``str()`` of it is the answer.

        The end of a run is never raised: if it is out of budget, denied or its provider fails, the result says so in
        ``status``, ``error`` (message and hint), ``breaker`` and ``cost``. Ctrl-C stops the run, which is recorded,
        and is raised when it has ended; a second Ctrl-C does not wait for that.

        With ``schema`` the answer is JSON that is valid by it: a pydantic model, a JSON Schema (2020-12), or a text as
        of ``--schema``. ``structured`` of the result is then the object of the model, or the plain value; None if the
        run did not end well. Answers that are not valid are sent back (the setting ``schema_retries``, 2).

        Raises:
            UsageError: there is no task, a setting or the schema is invalid, or a dollar limit is set and the price is
                unknown.
            ActionDenied: this process runs inside the sandbox of a run, where that run's ledger is not visible.
            AuthFailed: the key of the chosen provider is missing.

        >>> from agentctl import Completion, DockerAgent, ScriptedProvider
        >>> result = DockerAgent(ScriptedProvider([Completion("Two: web and db.")])).execute("List all containers")
        >>> result.status, str(result)
        ('done', 'Two: web and db.')
        >>> from pydantic import BaseModel
        >>> class Containers(BaseModel):
        ...     names: list[str]
        >>> model = ScriptedProvider([Completion('{"names": ["web", "db"]}')])
        >>> result = DockerAgent(model).execute("List all containers", schema=Containers)
        >>> result.structured, str(result)
        (Containers(names=['web', 'db']), '{"names":["web","db"]}')
        """
        running = _ActiveRun()
        work = partial(self._perform, task, running, read_form(schema))
        return run_in_thread(work, name="agentctl execute", stop=running.interrupt)

    async def execute_async(
        self, task: str, *, schema: type[BaseModel] | Mapping[str, Any] | str | Path | None = None
    ) -> RunResult:
        """Run ``task`` in the running event loop (asyncio or trio), and return the same as ``execute``.

        When cancelled, it first closes the run in journal and ledger (requests that were sent count).

        Raises:
            UsageError: there is no task, a setting or the schema is invalid, or a dollar limit is set and the price is
                unknown.
            ActionDenied: this process runs inside the sandbox of a run, where that run's ledger is not visible.
            AuthFailed: the key of the chosen provider is missing.

        >>> import anyio
        >>> from agentctl import Completion, DockerAgent, ScriptedProvider
        >>> agent = DockerAgent(ScriptedProvider([Completion("Two: web and db.")]))
        >>> print(anyio.run(agent.execute_async, "List all containers"))
        Two: web and db.
        """
        return await self._perform(task, _ActiveRun(), read_form(schema))

    async def _perform(self, task: str, running: _ActiveRun, form: StructuredForm | None) -> RunResult:
        _refuse_no_task(task)
        # settings are files, and an Ollama may be asked
        made = await anyio.to_thread.run_sync(self._prepare_run, task, None if form is None else form.schema)
        async with shared_provider(made.provider):
            running.orchestrator = made.orchestrator
            result = await made.orchestrator.run(task)
            return result if form is None else form.convert(result)

    def _prepare_run(self, task: str, schema: AnswerSchema | None) -> _PreparedRun:
        """Return one run, ready to start.

        Raises:
            AgentctlError: a setting is invalid, or the provider is not available.
        """
        from agentctl.budget.breaker import refuse_unbounded  # noqa: PLC0415 - importing the package loads nothing
        from agentctl.providers.selection import resolve_provider  # noqa: PLC0415
        from agentctl.runner.assemble import assemble, make_provider, plan_of  # noqa: PLC0415
        from agentctl.settings import ProviderChoice, load_settings  # noqa: PLC0415
        from agentctl.settings.lineage import refuse_incomplete  # noqa: PLC0415

        tracker = self._tracker
        price = tracker.price if tracker else None
        loaded = load_settings(flags=self._flags(), remember=False).for_a_run()
        if self._tools:
            loaded = replace(loaded, own_tools=self._tools)
        refuse_incomplete(loaded.parent)
        for note in loaded.notes:
            _LOG.info("%s", note)
        if self._provider is None:
            choice = resolve_provider(loaded)
            plan = self._plan(plan_of(loaded, choice, labels=self._labels))
            provider = shared = make_provider(loaded, choice, plan.limits, price=price)
        else:
            shared = self._provider
            provider = shared if price is None else FixedPriceProvider(shared, price)
            facts = provider.facts
            choice = ProviderChoice(facts.provider, facts.model, "llm_provider")
            plan = self._plan(plan_of(loaded, choice, labels=self._labels))
            near = getattr(provider, "near", str)
            refuse_unbounded(facts, plan.limits, near=near())
        watching = (*self._observers, *(() if tracker is None else (tracker,)), _LogObserver(loaded.secrets))
        orchestrator = assemble(
            loaded,
            choice,
            observers=watching,
            provider=provider,
            approver=self._approver,
            plan=plan,
            ledger_path=tracker.ledger if tracker else None,
            warn=partial(_LOG.warning, "%s"),
            schema=schema,
            chosen=self._chosen(loaded, task),
        )
        return _PreparedRun(orchestrator, shared)

    def _flags(self) -> Mapping[str, object]:
        """Return the arguments as flags of the settings, so that they are validated and tightened alike."""
        flags: dict[str, object] = {"workdir": self._workdir, "allow": self._allow or None}
        if self._spec is None:
            flags["agent"] = self.name
        if self._tracker is not None:
            flags["cost_history_file"] = self._tracker.history_file
            limits = self._tracker.limits
            if limits is not None:
                from agentctl.core.limits import limit_settings  # noqa: PLC0415 - importing the package loads nothing

                flags |= limit_settings(limits)
        if self._context is not None:
            flags |= {
                "max_context_tokens": self._context.max_tokens,
                "keep_last_n_user_messages": self._context.keep_last_n_user_messages,
                "keep_last_n_assistant_messages": self._context.keep_last_n_assistant_messages,
            }
        return flags

    def _chosen(self, loaded: Loaded, task: str) -> AgentChoice | None:
        if self._spec is None:
            return None
        from agentctl.runner.agent_choice import AgentChoice  # noqa: PLC0415 - importing the package loads nothing

        return AgentChoice(loaded, (self._spec,), task, self._spec, type(self).__name__)

    def _plan(self, plan: Plan) -> Plan:
        return plan._replace(agent_chosen_by=type(self).__name__, context=self._context)


class _PreparedRun(NamedTuple):
    """One run, ready to start, and the provider whose connections it uses."""

    orchestrator: Orchestrator
    provider: LLMProvider


class _ActiveRun:
    """The run in progress, if any, which can be stopped."""

    def __init__(self) -> None:
        self.orchestrator: Orchestrator | None = None

    def interrupt(self) -> bool:
        """Stop the run as Ctrl-C does; return False if none has begun."""
        if self.orchestrator is None:
            return False
        self.orchestrator.interrupt()
        return True


class _LogObserver:
    """Logs the events that a screen would show as text."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets

    async def observe(self, record: Record) -> None:
        """Log one record, if it has a text."""
        event = record.event
        if isinstance(event, Noted):
            level = logging.WARNING if event.level == "warning" else logging.INFO
            _LOG.log(level, "%s", safe_text(redact(event.text, self._secrets)))
        elif isinstance(event, ModelSubstituted):
            _LOG.warning("%s was answered by %s (run %s)", event.asked, safe_text(event.answered), record.run_id)
        elif isinstance(event, ProviderReplaced):
            said = safe_text(redact(f"{event.failed} failed ({event.message})", self._secrets))
            _LOG.warning("%s: continuing with %s/%s (run %s)", said, event.provider, event.model, record.run_id)
        elif isinstance(event, ObeyedFilesChanged):
            for file in event.files:
                where = "changed" if file.moved_to is None else f"moved to {file.moved_to}"
                said = safe_text(redact(f"{file.path} was {where}; {file.obeyed_by} runs or obeys it", self._secrets))
                _LOG.warning("%s (run %s)", said, record.run_id)
        elif isinstance(event, LimitWarned):
            _LOG.warning("80 %% of %s is used (run %s)", event.use.name, record.run_id)


def _refuse_no_task(task: object) -> None:
    if not isinstance(task, str) or not task.strip():
        raise UsageError(f"the task cannot be {task!r}", hint='pass a task in words: execute("List all containers")')


def _check(name: str, value: object, wanted: Sequence[str], give: str) -> None:
    """Check that an argument has the attributes ``wanted``.

    Raises:
        UsageError: an attribute is missing.
    """
    if value is None:
        return
    kind = value if isinstance(value, type) else type(value)
    if isinstance(value, type) or not all(
        hasattr(kind, one) or one in getattr(value, "__dict__", ()) for one in wanted
    ):
        raise UsageError(f"{name} cannot be {value!r}", hint=f"pass {give}")


@asynccontextmanager
async def shared_provider(provider: LLMProvider) -> AsyncIterator[None]:
    """Count the runs that share a provider in this event loop; close its connections with the last of them."""
    users = _USERS.get(Counter())
    _USERS.set(users)
    users[id(provider)] += 1
    try:
        yield
    finally:
        users[id(provider)] -= 1
        if users[id(provider)] == 0:
            del users[id(provider)]
            if (close := getattr(provider, "aclose", None)) is not None:
                with anyio.move_on_after(CLOSING_S, shield=True), suppress(Exception):
                    await close()
