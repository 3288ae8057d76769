"""Load the settings: read every source, merge, validate, apply project files, and collect the problems."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.text import safe_text
from agentctl.settings.host import current_engine
from agentctl.settings.labels import find_initiator, job_labels
from agentctl.settings.lineage import find_parent
from agentctl.settings.loaded import Loaded, refusal
from agentctl.settings.merge import (
    Merged,
    Validated,
    absolute,
    absolute_folders,
    format_value,
    merge,
    problem_of,
    secret_texts,
    validate,
    with_server_password,
)
from agentctl.settings.model import Settings, default_folder
from agentctl.settings.names import NEEDS
from agentctl.settings.own_files import PipeWait, is_folder, is_there, read_own_file
from agentctl.settings.own_folders import folder_problems
from agentctl.settings.project_files import (
    MCP_FILE,
    FoundProjectFile,
    apply_project_files,
    find_project_file,
    find_project_files,
    trusted_layers,
    with_trust_states,
)
from agentctl.settings.provider_names import other_keys
from agentctl.settings.sandbox_access import wrong_beside
from agentctl.settings.sources import (
    ALWAYS,
    NEEDS_ENV,
    NEEDS_TOML,
    Layer,
    Problem,
    SettingEntry,
    Source,
    from_dotenv,
    from_environment,
    from_flags,
    from_toml,
    without_ledger,
)

if TYPE_CHECKING:
    from agentctl.settings.telemetry import TelemetrySettings


class SettingsCheck(NamedTuple):
    """The result of ``config check``: without problems a run would start; with them ``loaded`` is None.

    ``incomplete`` has what could be read in spite of the problems: wrong values have their defaults there.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    loaded: Loaded | None
    incomplete: Loaded | None = None


class _Read(NamedTuple):
    """Every layer, the strongest first; the first ``outer`` layers are stronger than project files."""

    layers: tuple[Layer, ...]
    outer: int
    config_file: Path
    own_files: tuple[Path, ...]


class SourcesReport(NamedTuple):
    """Every layer merged, valid or not, and the files of the project."""

    merged: Merged
    state_dir: Path
    config_file: Path
    found: tuple[FoundProjectFile, ...]
    mcp_file: FoundProjectFile | None = None


def read_sources(
    *, folder: Path | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> SourcesReport:
    """Return every layer for a run in ``folder`` (default: the working directory), without flags and unchecked.

    ``merged`` has no layer of the project in it.

    Raises:
        UsageError: the working directory no longer exists.
    """
    environ = os.environ if environ is None else environ
    try:
        cwd = Path.cwd() if cwd is None else cwd
    except OSError as error:
        raise UsageError("the working directory no longer exists", hint="change to another directory") from error
    read = _read_layers({}, environ, cwd, (), None, [])
    merged = merge(read.layers, cwd=cwd)
    state_dir = _state_dir(merged.entries)
    folder = cwd if folder is None else folder
    found = find_project_files(folder, cwd=cwd, own_files=read.own_files)
    servers = find_project_file(folder / MCP_FILE, cwd=cwd)
    mcp_file = None if servers is None else with_trust_states((servers,), state_dir)[0][0]
    return SourcesReport(merged, state_dir, read.config_file, with_trust_states(found, state_dir)[0], mcp_file)


def load_settings(
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    env_files: Sequence[str | Path] = (),
    config: str | Path | None = None,
    remember: bool = True,
    needs: Sequence[str] = ("run", "model"),
    wait: PipeWait | None = None,
) -> Loaded:
    """Load the settings from every source; the strongest value of each wins.

    ``flags`` maps field names to what was typed; None means not given. With ``remember`` the note on an untrusted
    file's ignored lines appears once per content of the file; without, it appears each time, and nothing is written.
    ``needs`` says what the settings are for: "run" (everything but what a provider or a model alone needs), "report",
    "policy", "prices", "model", or a field. Any other wrong setting gets a warning and its default. ``wait`` says how
    a run waits for pipes among the files; without it the end of a pipe must come within 5 s.

    Raises:
        UsageError: a flag or a needed setting is wrong; the error lists all of them.
        RunTimeout: the time limit of the run ended while it waited for a pipe.
        TypeError: ``needs`` names something that no setting is needed by.

    >>> from agentctl import load_settings
    >>> loaded = load_settings(flags={"max_turns": 5})
    >>> loaded.settings.max_turns, str(loaded.sources["max_turns"])
    (5, 'flag --max-turns')
    """
    if isinstance(needs, str) or not NEEDS.issuperset(
        needs
    ):  # a typing error here would make every problem a mere warning
        raise TypeError(f"no command needs {needs}")
    loaded, problems, _ = _load(flags, environ, cwd, env_files, config, remember=remember, needs=needs, wait=wait)
    if loaded is None or (stopping := _stopping(problems, needs)):
        raise refusal(problems if loaded is None else stopping)
    return loaded


def _stopping(problems: Sequence[Problem], needs: Sequence[str]) -> list[Problem]:
    """Return the problems that stop a command that needs ``needs``."""
    wanted = frozenset((*ALWAYS, *needs))
    return [problem for problem in problems if not wanted.isdisjoint(problem.stops)]


def check_settings(
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    env_files: Sequence[str | Path] = (),
    config: str | Path | None = None,
) -> SettingsCheck:
    """Load as ``load_settings`` does, but return the problems, including those of values that are overridden."""
    loaded, problems, read = _load(flags, environ, cwd, env_files, config, remember=False, needs=("run",))
    shadowed: list[str] = []
    known = {problem.text for problem in problems}
    own = () if loaded is None else tuple(loaded.settings.providers)
    for layer in read.layers if read else ():
        entries = {**layer.entries, **absolute_folders(layer.entries, Path.cwd() if cwd is None else cwd)}
        wrong = [problem for problem in validate(entries, own=own).problems if problem.text not in known]
        shadowed += [f"{problem.text}; it has no effect, because a stronger source sets it" for problem in wrong]
    said = () if loaded is None else tuple(note for note in loaded.notes if note not in loaded.warnings)
    notes = (*said, *shadowed)
    return SettingsCheck(tuple(map(str, problems)), notes, None if problems else loaded, loaded)


def _load(
    flags: Mapping[str, object],
    environ: Mapping[str, str] | None,
    cwd: Path | None,
    env_files: Sequence[str | Path],
    config: str | Path | None,
    *,
    remember: bool,
    needs: Sequence[str] = (),
    wait: PipeWait | None = None,
) -> tuple[Loaded | None, list[Problem], _Read | None]:
    """Return the settings with all problems, whichever commands they stop; no settings if nothing can be read."""
    environ = os.environ if environ is None else environ
    try:
        cwd = Path.cwd() if cwd is None else cwd
    except OSError:
        return None, [Problem("the working directory no longer exists", "change to another directory")], None
    problems: list[Problem] = []
    read = _read_layers(flags, environ, cwd, env_files, config, problems, wait)
    merged = merge(read.layers, cwd=cwd)
    where = merged.entries.get("workdir")
    folder = where.value if where is not None and isinstance(where.value, Path) else cwd
    found = find_project_files(folder, cwd=cwd, own_files=read.own_files)
    said: tuple[str, ...] = ()
    if found:
        found, said = with_trust_states(found, _state_dir(merged.entries))
        trusted, more = trusted_layers(found)
        said += more
        if trusted:
            read = read._replace(layers=(*read.layers[: read.outer], *trusted, *read.layers[read.outer :]))
            merged = merge(read.layers, cwd=cwd)
            problems += [problem for layer in trusted for problem in layer.problems]
    entries, notes = merged.entries, [*merged.notes, *said]
    values, wrong = validate(entries)
    if values.get("providers"):
        from agentctl.settings.named_choice import with_keys  # noqa: PLC0415 - most users have none

        named, unusable = with_keys(values["providers"], read.layers)
        values, wrong = {**values, "providers": named}, (*wrong, *unusable)
    hook_source: dict[str, Source] = {}
    if "hook" in entries:
        from agentctl.settings.hook_tables import hooks_of_layers  # noqa: PLC0415 - most users have none

        (values, wrong), hook_source["hook"] = hooks_of_layers(read.layers, Validated(values, wrong))
    settings = Settings.model_construct(**values)
    problems += (*merged.problems, *wrong, *_places(settings, where, _needs_env(read.layers[: read.outer])))
    if settings.sandbox_read or settings.sandbox_write or settings.sandbox_env:
        beside = wrong_beside(settings, workspace=folder)
        problems += (problem_of(field, entries[field], allowed) for field, allowed in beside.items())
        settings = settings.model_copy(update=dict.fromkeys(beside, ()))
    sources = dict.fromkeys(Settings.model_fields, Source("default")) | {name: entries[name].source for name in values}
    sources |= hook_source
    if "docker_host" not in entries:
        engine = current_engine(environ)
        notes += [safe_text(engine.note)] if engine.note else []
        if engine.host:
            settings = settings.model_copy(update={"docker_host": engine.host})
            sources["docker_host"] = Source("docker context", engine.context)
    if settings.ledger is not None:
        settings, exposed = with_server_password(settings, environ)
        problems += exposed if settings.strict else ()
        notes += () if settings.strict else [f"warning: {problem}" for problem in exposed]
    secrets = secret_texts(read.layers, settings, environ)
    passed_on = {name: environ[name] for name in settings.sandbox_env if name in environ}
    keys = [name for name, value in passed_on.items() if value.strip() in secrets]
    notes += [f"{name} is not given to commands: its value is a key" for name in keys]
    remember = remember and not _stopping(problems, needs)
    project = apply_project_files(settings, sources, found, remember=remember)
    wants_servers = not settings.mcp_config and not {"run", "mcp"}.isdisjoint(needs)
    mcp_file = find_project_file(folder / MCP_FILE, cwd=cwd) if wants_servers else None
    if mcp_file is not None:
        from agentctl.settings.mcp_project import with_mcp_file  # noqa: PLC0415 - most projects have none

        mcp_file, project = with_mcp_file(mcp_file, project, remember=remember)
    loaded = Loaded(
        settings=project.settings,
        sources=project.sources,
        notes=(*notes, *project.notes, *(f"warning: {problem}" for problem in problems)),
        secrets=secrets,
        empty_keys=tuple(dict.fromkeys(name for layer in read.layers for name in layer.empty_keys)),
        tightened=project.tightened,
        ignored=project.ignored,
        offers=project.offers,
        ci=environ.get("CI", "").strip().lower() not in ("", "0", "false", "no"),
        job=job_labels(environ),
        term=environ.get("TERM", ""),
        config_file=read.config_file,
        names={name: entry.name for name, entry in entries.items()},
        parent=find_parent(environ),
        set_aside=tuple(problems),
        other_keys=other_keys(environ),
        passed_on={name: value for name, value in passed_on.items() if name not in keys},
        variables=tuple(layer.variables for layer in read.layers if layer.variables),
        mcp_project=mcp_file,
        trace_parent=_trace_parent(environ),
        telemetry=_telemetry(environ),
        initiator=find_initiator(environ),
    )
    return loaded, problems, read


def _trace_parent(environ: Mapping[str, str]) -> str:
    """Return the span that this process is part of, "" if its environment names no valid one."""
    if "TRACEPARENT" not in environ:
        return ""
    from agentctl.core.trace_context import read_trace_context  # noqa: PLC0415 - few runs are part of a trace

    return str(read_trace_context(environ["TRACEPARENT"], environ.get("TRACESTATE", "")) or "")


def _telemetry(environ: Mapping[str, str]) -> TelemetrySettings | None:
    """Return what the variables of OpenTelemetry say, None if there are none."""
    if not any(name.startswith("OTEL_") for name in environ):
        return None
    from agentctl.settings.telemetry import read_telemetry  # noqa: PLC0415 - most users have none

    return read_telemetry(environ)


def _places(settings: Settings, workdir: SettingEntry | None, needs_env: tuple[str, ...]) -> tuple[Problem, ...]:
    """Return the problems of the folders that the settings name; ``needs_env`` are the needs that the config folder
    stops.
    """
    problems = folder_problems(
        (
            ("state folder", settings.state_dir, ("run", "report", "state_dir")),
            ("folder of runs", settings.runs_dir, ("run", "report", "state_dir")),
            ("cache folder", settings.cache_dir, ("run", "cache_dir")),
            ("config folder", settings.config_dir, needs_env),  # a user who can write there can replace the .env
        )
    )
    if workdir is None or not isinstance(workdir.value, Path) or is_folder(workdir.value):
        return problems
    stops = ALWAYS if workdir.source.kind == "flag" else ("run", "policy", "workdir")
    said = f"workdir {format_value(workdir.value)} ({workdir.origin}): no such folder"
    return (*problems, Problem(said, "", stops))


def _read_layers(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path,
    env_files: Sequence[str | Path],
    config: str | Path | None,
    problems: list[Problem],
    wait: PipeWait | None = None,
) -> _Read:
    def read_file(path: Path, what: str, *, private: bool = False, flag: str = "") -> str | Problem:
        limit = None if wait is None else _time_limit(layers)
        return read_own_file(path, what, private=private, flag=flag, wait=wait, timeout_s=limit)

    named = [absolute(name, cwd) for name in env_files]
    layers = [from_flags(flags), from_environment(environ)]
    for path in reversed(named):
        text = read_file(path, "env file", flag="--env-file")
        if isinstance(text, Problem):
            problems.append(text)
        else:
            layers.append(without_ledger(from_dotenv(text, kind="env file", path=path), problems))
    outer = len(layers)
    config_dir = _config_dir(layers, cwd)
    own_env = config_dir / ".env"
    if is_there(own_env):
        text = read_file(own_env, "user .env", private=True)
        if isinstance(text, Problem):
            problems.append(text._replace(stops=_needs_env(layers)))
        else:
            layers.append(from_dotenv(text, kind="user .env", path=own_env))
    config_file = absolute(config, cwd) if config is not None else config_dir / "config.toml"
    if config is not None or is_there(config_file):
        text = read_file(config_file, "user config", flag="" if config is None else "--config")
        if isinstance(text, Problem):
            problems.append(text if config is not None else text._replace(stops=NEEDS_TOML))
        else:
            layer = from_toml(text, kind="user config", path=config_file)
            is_lost = config is not None and NEEDS_TOML in [problem.stops for problem in layer.problems]
            lost = tuple(problem._replace(stops=ALWAYS) for problem in layer.problems)
            layers.append(layer._replace(problems=lost) if is_lost else layer)
    problems += [problem for layer in layers for problem in layer.problems]
    return _Read(tuple(layers), outer, config_file, (*named, own_env, config_file))


def _time_limit(layers: Sequence[Layer]) -> float:
    """Return the time limit of a run by the layers read so far, in seconds; its default if none sets a valid one."""
    entry = next((layer.entries["timeout"] for layer in layers if "timeout" in layer.entries), None)
    found = validate({"timeout": entry}).values if entry is not None else {}
    return float(found.get("timeout", Settings.model_fields["timeout"].default))


def _needs_env(stronger: Sequence[Layer]) -> tuple[str, ...]:
    """Return the needs that an unreadable .env stops, without those of ``state_dir`` if a stronger source sets it."""
    is_set = any("state_dir" in layer.entries for layer in stronger)
    return tuple(need for need in NEEDS_ENV if not (is_set and need in ("report", "state_dir")))


def _config_dir(layers: Sequence[Layer], cwd: Path) -> Path:
    for layer in layers:
        if entry := layer.entries.get("config_dir"):
            return absolute(entry.value, cwd)
    return default_folder("config_dir")


def _state_dir(entries: Mapping[str, SettingEntry]) -> Path:
    entry = entries.get("state_dir")
    return entry.value if entry is not None and isinstance(entry.value, Path) else default_folder("state_dir")
