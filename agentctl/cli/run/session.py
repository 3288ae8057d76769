"""One run from the command line: read its input, assemble it, drive it to its end or a signal, print the result."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentctl.cli.ci.ci_flags import open_reports
from agentctl.cli.documents import error_info
from agentctl.cli.error_output import PLAIN, print_stderr, report_error
from agentctl.cli.invocation import Form, Invocation
from agentctl.cli.run.run_request import RunRequest, kept_flags
from agentctl.cli.run.task_input import InputData, TaskInput, dash_for_stdin, data_block, task_of_words
from agentctl.cli.signals import interruption, run_to_end
from agentctl.cli.streams import end_waiting_at
from agentctl.cli.ui.format import Paint, painter
from agentctl.cli.ui.terminal import can_style
from agentctl.core.errors import AgentctlError, UsageError
from agentctl.core.late_modules import late_modules
from agentctl.core.redaction import Redactor
from agentctl.core.text import safe_text

if TYPE_CHECKING:
    from agentctl.cli.ci.reports import RunReports
    from agentctl.cli.run.resumed import OpenedRun, StoppedRun
    from agentctl.cli.run.run_output import Presenter
    from agentctl.core.answer_schema import AnswerSchema
    from agentctl.core.results import RunResult
    from agentctl.providers.cassettes.lane import Lane
    from agentctl.runner.orchestrator import Orchestrator
    from agentctl.settings import Loaded, ProviderChoice
    from agentctl.settings.own_files import PipeWait


@dataclass(slots=True)
class _Beginning:
    """The known facts about a run that may fail before it begins."""

    form: Form
    task: str | None = None
    paint: Paint = PLAIN
    stopped: StoppedRun | None = None
    reports: RunReports | None = None

    def mask(self, secrets: Iterable[str]) -> None:
        """Have the CI system blank the secrets, before anything else is printed."""
        if self.reports is not None:
            self.reports.mask(secrets)

    def report(self, error: AgentctlError) -> int:
        """Print an error before the run began; the document says what a run that does not go on has cost."""
        past = None if self.stopped is None else self.stopped.fields
        if self.reports is not None:
            self.reports.fail(*error_info(error), past, task=self.task)
        return report_error(error, form=self.form, command="run", task=self.task, past=past, paint=self.paint)


def perform(call: Invocation, request: RunRequest) -> int:
    """Run the task and return the exit code; report an error before its start in the requested output format."""
    known = _Beginning(call.form)
    try:
        known.reports = open_reports(request.ci)
        code = _perform(call, request, known) if request.resume is None else _resume(call, request, known)
    except AgentctlError as error:
        code = known.report(error)
    except KeyboardInterrupt:
        early = interruption()
        early.message = f"{early.status.replace('_', ' ')} before the run began; nothing was sent"
        code = known.report(early)
    if known.reports is not None:
        known.reports.finish()
        if call.ended is not None:
            call.ended.append(code)
    return code


def _resume(call: Invocation, request: RunRequest, known: _Beginning) -> int:
    """Go on with a run from its journal, which is locked meanwhile, with its flags and those given now.

    Raises:
        UsageError: there is no such run, it is alive, or there is nothing to go on with.
    """
    from agentctl.cli.run.resumed import OpenedRun, ResumeRequest, find_stopped, words_of

    words, data = words_of(request.words), request.input
    if request.task_file is not None or request.estimate:
        flag = "--estimate" if request.estimate else "--task-file"
        raise UsageError(
            f"{flag} cannot be combined with a run that goes on", hint="give its words on the command line"
        )
    if request.labels and not (request.resume and request.resume.is_fork):
        raise UsageError(
            "--label cannot be combined with a run that goes on", hint="it keeps its labels, or add --fork"
        )
    if not words and data not in (None, "none"):
        raise UsageError("--input needs words for the run that goes on", hint="say what the data is for")
    wanted = request.resume or ResumeRequest()
    known.stopped = find_stopped(wanted, request.flags)
    given = {**request.flags, "config": request.config, "env_files": request.env_files or None}
    given |= {"agent_file": request.agent_file, "params": dict(request.params) or None, "notes": request.notes or None}
    opened = OpenedRun(known.stopped, wanted, words, {name: one for name, one in given.items() if one is not None})
    try:
        known.task = opened.past.text("task")
        # without words nothing is read: in a pipeline stdin may be open and silent
        request = request._replace(
            flags=opened.flags,
            config=opened.config,
            env_files=opened.env_files,
            input=data if words else "none",
            schema=opened.schema if request.schema is None else request.schema,
            agent_file=opened.agent_file,
            params=opened.params,
            notes=opened.notes,
        )
        return _perform(call, request, known, opened)
    finally:
        opened.release()


def _perform(call: Invocation, request: RunRequest, known: _Beginning, opened: OpenedRun | None = None) -> int:
    began, notify = time.monotonic(), _quiet if request.quiet else _print_safe
    task_file, source = dash_for_stdin(request.task_file), dash_for_stdin(request.input)
    words = known.task
    if opened is None:
        words = known.task = task_of_words(request.words, task_file=task_file, source=source)

    if "mcp_config" in request.flags:
        from agentctl.cli.run.mcp_input import without_stdin_as_data

        request = without_stdin_as_data(request, words=words)
        source = dash_for_stdin(request.input)

    from agentctl.providers.selection import resolve_provider
    from agentctl.settings.own_files import PipeWait

    loaded = _settle_settings(request, known, PipeWait(since=began, notify=notify))
    schema = _read_schema(request.schema)
    given = TaskInput(since=began, timeout_s=loaded.settings.timeout, notify=notify)
    if "mcp_config" in request.flags:
        from agentctl.cli.run.mcp_input import with_servers_of_stdin

        loaded, request = with_servers_of_stdin(loaded, request, given)
    task, chosen = words, None
    if request.agent_file is not None or request.params or _has_any(loaded, (".agentctl",), "agents"):
        from agentctl.cli.run.user_files import choose_agent

        if task is None:
            task = given.read_task(task_file, source=source)
        chosen = choose_agent(loaded, request, task, None if opened is None else opened.past.text("agent"), notify)
        loaded, task = chosen.loaded, chosen.task
    named: ProviderChoice | None = None
    cassette: Lane | None = None
    if request.cassette is not None:
        from agentctl.cli.run.cassette_flags import insert_cassette

        cassette, loaded, named = insert_cassette(request.cassette, loaded)
    try:
        choice = named or resolve_provider(loaded)
    except AgentctlError as error:
        for note in loaded.notes:
            if error.message not in note:  # it is said once, as the error
                notify(note)
        raise
    for note in loaded.notes:
        notify(note)
    loaded = loaded.for_provider(choice.provider)
    more: dict[str, Any] = {"flags": kept_flags(request, schema), "schema": schema}
    if chosen is not None:
        more["chosen"] = chosen
    if cassette is not None and request.cassette is not None:
        more["cassette"], more["flags"] = cassette, {**more["flags"], **request.cassette.kept_flags}
    if opened is not None:
        more["flags"] = opened.keep(more["flags"])
        more["resumption"] = opened.resumption(loaded, None if chosen is None else chosen.agents)
    has_model = given.has_model = choice.provider != "builtin"
    if has_model and (request.notes or _has_any(loaded, ("AGENTS.md", ".agentctl"), "skills")):
        from agentctl.cli.run.user_files import read_notes

        loaded, more["notes"] = read_notes(loaded, request, notify)
    end_waiting_at(began + loaded.settings.timeout)
    task = known.task = given.read_task(task_file, source=source) if task is None else task
    data = given.read_data(source, is_task_on_stdin=words is None and task_file in (None, "-"))
    command = _repeat_command(call)
    if command and source is None and data is not None:  # where it is pasted, nothing is asked without its data
        command = (*command, "--input", "-")
    if request.estimate:
        from agentctl.cli.run.estimate_output import print_estimate

        task, data = _redact(loaded, request, task, data, notify=_quiet)
        return print_estimate(
            loaded,
            choice,
            task,
            data=data_block(data),
            labels=request.labels,
            schema=schema,
            chosen=chosen,
            notes=more.get("notes"),
            form=known.form,
            paint=known.paint,
            command=command,
        )
    if has_model:  # a model may start processes, which could read the keys
        from agentctl.settings.key_exposure import protect_keys

        protect_keys()
    elif loaded.settings.mcp_config:
        notify("builtin looks things up without a model, and uses no MCP servers")
    loaded = loaded.for_a_run(with_servers=has_model)
    known.mask(loaded.secrets)
    task, data = _redact(loaded, request, task, data, notify=notify)
    known.task = task
    presenter = _open_presenter(request, known, loaded, command)
    if loaded.ci and has_model and not sys.stderr.isatty():
        notify("max_cost_per_hour covers this CI runner only: every runner has its own ledger")
    assemble = call.assemble
    if assemble is None:
        from agentctl.runner.assemble import assemble as real

        assemble = real
    if loaded.settings.hook:
        from agentctl.cli.documents import finished_record

        more["describe_end"] = finished_record
    if opened is not None:
        more["locked"] = opened.file
    orchestrator = assemble(
        loaded,
        choice,
        observers=presenter.observers,
        labels=request.labels,
        approver=presenter.approver,
        warn=presenter.warn,
        **more,
    )
    if opened is not None:
        opened.hand_on()
    given.data = data_block(data)
    return _drive(orchestrator, presenter, task, given, loading=has_model)


def _has_any(loaded: Loaded, in_project: tuple[str, ...], in_config: str) -> bool:
    """Return whether a file of the project, or of the config folder, is there: by system calls, without an import."""
    from agentctl.settings.own_files import is_there

    project = loaded.settings.workdir or Path.cwd()
    return any(is_there(project / name) for name in in_project) or is_there(loaded.settings.config_dir / in_config)


def _settle_settings(request: RunRequest, known: _Beginning, wait: PipeWait) -> Loaded:
    """Load the settings, ask the user open questions, and store output format and colours in ``known``."""
    from agentctl.providers.selection import catalogue_owners
    from agentctl.settings import competing_keys
    from agentctl.settings.lineage import refuse_incomplete

    loaded = _load(request, wait)
    known.mask(loaded.secrets)
    known.form = loaded.settings.output
    refuse_incomplete(loaded.parent)
    if not request.estimate and (
        loaded.offers or competing_keys(loaded, catalogue_owners(loaded))
    ):  # an estimate asks nothing: it would not store the answer
        from agentctl.cli.run.startup_prompts import ask_open_questions

        own = request.config is None
        loaded = ask_open_questions(
            loaded, again=lambda: _load(request, wait), quiet=request.quiet, own_config=own, notify=_print_safe
        )
        known.form = loaded.settings.output
    known.paint = painter(loaded.settings.color, terminal=can_style(sys.stderr, loaded.term))
    return loaded


def _open_presenter(request: RunRequest, known: _Beginning, loaded: Loaded, command: tuple[str, ...]) -> Presenter:
    from agentctl.cli.run.run_output import Presenter

    return Presenter(
        form=known.form,
        paint=known.paint,
        quiet=request.quiet,
        verbose=request.verbose,
        command=command,
        secrets=loaded.secrets,
        term=loaded.term,
        styles=loaded.settings.color != "never",
        reports=known.reports,
    )


def _load(request: RunRequest, wait: PipeWait) -> Loaded:
    from agentctl.settings import load_settings

    return load_settings(
        flags=request.flags,
        env_files=request.env_files,
        config=request.config,
        remember=not request.estimate,
        needs=("run",),  # what a model needs besides is judged when one is chosen
        wait=wait,
    )


def _redact(
    loaded: Loaded, request: RunRequest, task: str, data: InputData | None, *, notify: Callable[[str], None]
) -> tuple[str, InputData | None]:
    """Return task and data, with secrets redacted in text from a pipe or a file; ``notify`` gets their count.

    Words on the command line were typed by the user and are not redacted.
    """
    redactor = loaded.redactor or Redactor(loaded.secrets)
    found = also = 0
    if not request.words:
        task, found = redactor.count(task)
    if data is not None:
        text, also = redactor.count(data.text)
        data = data._replace(text=text)
    if count := found + also:
        what = "1 secret was" if count == 1 else f"{count} secrets were"
        notify(f"{what} replaced by [redacted:KIND:ID] before sending")
    return task, data


def _drive(orchestrator: Orchestrator, presenter: Presenter, task: str, given: TaskInput, *, loading: bool) -> int:
    async def work() -> RunResult:
        with presenter.suspendable():
            return await orchestrator.run(task, given)

    # Reference counts free most of what a run allocates; the default threshold of 700 costs a short run 3 %.
    gc.set_threshold(10_000, 20, 20)
    try:
        if not loading:  # otherwise the provider does this after loading its library
            _load_event_loop()
            gc.freeze()
            gc.enable()
        result = run_to_end(work, orchestrator.interrupt)
    finally:
        presenter.close()
    return presenter.present(result)


def _load_event_loop() -> None:
    """Import the event loop without OpenSSL, which takes 5 MB: a run of builtin that opens no connection needs none."""
    with late_modules({"anyio._core._sockets": ("convert_ipv6_sockaddr",), "asyncio.sslproto": (), "ssl": ()}):
        import anyio._backends._asyncio  # noqa: F401


def _print_safe(text: str) -> None:
    print_stderr(safe_text(text))


def _read_schema(given: str | None) -> AnswerSchema | None:
    """Return the schema that ``--schema`` gives, None without one.

    Raises:
        UsageError: it is not taken.
    """
    if given is None:
        return None
    from agentctl.core.answer_schema import read_answer_schema

    return read_answer_schema(given)


def _quiet(text: str) -> None:
    return None


def _repeat_command(call: Invocation) -> tuple[str, ...]:
    """Return the command line to append a flag to; () if it contains ``--``, after which no flag is parsed."""
    return () if "--" in call.argv else ("agentctl", *call.argv)
