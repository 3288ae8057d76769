"""From the places to one frozen value: who wins, what is wrong, what is said."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from agentctl.errors import UsageError
from agentctl.settings.engine import current_engine
from agentctl.settings.files import is_folder, is_there, read_own_file
from agentctl.settings.loaded import Loaded
from agentctl.settings.merge import absolute, merge, secret_texts, shown, validate
from agentctl.settings.model import Settings, default_folder
from agentctl.settings.project import apply_project_files
from agentctl.settings.sources import (
    Layer,
    Problem,
    Source,
    from_dotenv,
    from_environment,
    from_flags,
    from_toml,
)
from agentctl.text import safe_text

MOST_PROBLEMS = 10


class Checked(NamedTuple):
    """What ``config check`` says: no problems means that a run would start; ``loaded`` is None otherwise."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    loaded: Loaded | None


class _Read(NamedTuple):
    """Every layer, the strongest first, and where the user's own files are."""

    layers: tuple[Layer, ...]
    config_file: Path
    own_files: tuple[Path, ...]


def load_settings(
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    env_files: Sequence[str | Path] = (),
    config: str | Path | None = None,
    remember: bool = True,
) -> Loaded:
    """Read every place and return what holds.

    ``flags`` maps field names to what was typed; None is not given. ``remember`` tells once per content what an
    untrusted file may not do; without it everything is told and nothing is written.

    Raises:
        UsageError: everything that is wrong, at once.
    """
    loaded, problems, _ = _load(flags, environ, cwd, env_files, config, remember=remember)
    if loaded is None:
        raise _refusal(problems)
    return loaded


def check_settings(
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    env_files: Sequence[str | Path] = (),
    config: str | Path | None = None,
) -> Checked:
    """Do what ``load_settings`` does, but return what is wrong, and find wrong values that have no effect too."""
    loaded, problems, read = _load(flags, environ, cwd, env_files, config, remember=False)
    shadowed: list[str] = []
    said = {problem.text for problem in problems}
    for layer in read.layers if read else ():
        wrong = [problem for problem in validate(layer.entries)[1] if problem.text not in said]
        shadowed += [f"{problem.text}; it has no effect, something stronger is set" for problem in wrong]
    notes = (*(loaded.notes if loaded else ()), *shadowed)
    return Checked(tuple(map(str, problems)), notes, loaded)


def _refusal(problems: Sequence[Problem]) -> UsageError:
    if len(problems) == 1:
        return UsageError(problems[0].text, hint=problems[0].hint)
    lines = [str(problem) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        lines[-1] = f"and {len(problems) - MOST_PROBLEMS + 1} more"
    return UsageError("\n  ".join((f"{len(problems)} settings are wrong:", *lines)))


def _load(
    flags: Mapping[str, object],
    environ: Mapping[str, str] | None,
    cwd: Path | None,
    env_files: Sequence[str | Path],
    config: str | Path | None,
    *,
    remember: bool,
) -> tuple[Loaded | None, list[Problem], _Read | None]:
    environ = os.environ if environ is None else environ
    try:
        cwd = Path.cwd() if cwd is None else cwd
    except OSError:
        return None, [Problem("the working directory is gone", "cd somewhere else")], None
    problems: list[Problem] = []
    read = _read_layers(flags, environ, cwd, env_files, config, problems)
    merged = merge(read.layers, cwd=cwd)
    entries, notes = merged.entries, [*merged.notes]
    settings, wrong = validate(entries)
    problems += (*merged.problems, *wrong)
    folder = entries.get("workdir")
    if folder is not None and isinstance(folder.value, Path) and not is_folder(folder.value):
        problems.append(Problem(f"workdir {shown(folder.value)} ({folder.origin}): no such folder"))
    if settings is None or problems:
        return None, problems, read
    sources = dict.fromkeys(Settings.model_fields, Source("default")) | {
        name: entry.source for name, entry in entries.items()
    }
    if "docker_host" not in entries:
        engine = current_engine(environ)
        notes += [safe_text(engine.note)] if engine.note else []
        if engine.host:
            settings = settings.model_copy(update={"docker_host": engine.host})
            sources["docker_host"] = Source("docker context", engine.context)
    project = apply_project_files(
        settings, sources, folder=settings.workdir or cwd, cwd=cwd, own_files=read.own_files, remember=remember
    )
    return (
        Loaded(
            settings=project.settings,
            sources=project.sources,
            notes=(*notes, *project.notes),
            secrets=secret_texts(read.layers, settings, environ),
            empty_keys=tuple(dict.fromkeys(name for layer in read.layers for name in layer.empty_keys)),
            tightened=project.tightened,
            ignored=project.ignored,
            ci=environ.get("CI", "").strip().lower() not in ("", "0", "false", "no"),
            config_file=read.config_file,
            names={name: entry.name for name, entry in entries.items()},
        ),
        [],
        read,
    )


def _read_layers(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path,
    env_files: Sequence[str | Path],
    config: str | Path | None,
    problems: list[Problem],
) -> _Read:
    named = [absolute(name, cwd) for name in env_files]
    layers = [from_flags(flags), from_environment(environ)]
    for path in reversed(named):
        text = read_own_file(path, "env file")
        if isinstance(text, Problem):
            problems.append(text)
        else:
            layers.append(from_dotenv(text, kind="env file", path=path))
    config_dir = _config_dir(layers, cwd)
    own_env = config_dir / ".env"
    if is_there(own_env):
        text = read_own_file(own_env, "user .env", private=True)
        if isinstance(text, Problem):
            problems.append(text)
        else:
            layers.append(from_dotenv(text, kind="user .env", path=own_env))
    config_file = absolute(config, cwd) if config is not None else config_dir / "config.toml"
    if config is not None or is_there(config_file):
        text = read_own_file(config_file, "user config")
        if isinstance(text, Problem):
            problems.append(text)
        else:
            layers.append(from_toml(text, kind="user config", path=config_file))
    problems += [problem for layer in layers for problem in layer.problems]
    return _Read(tuple(layers), config_file, (*named, own_env, config_file))


def _config_dir(layers: Sequence[Layer], cwd: Path) -> Path:
    for layer in layers:
        if entry := layer.entries.get("config_dir"):
            return absolute(entry.value, cwd)
    return default_folder("config_dir")
