"""The working directory's own files: read with suspicion, used to tighten, and told about once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from agentctl.settings.merge import validate
from agentctl.settings.model import Settings
from agentctl.settings.names import SECRET_FIELDS
from agentctl.settings.sources import Layer, Source, from_dotenv, from_toml
from agentctl.text import safe_text
from agentctl.trust import TIGHTENING, Ignored, ProjectFile, Told, read_project_file, tighten

PROJECT_FILES = (".env", ".agentctl.toml")

#: Places that a trusted project file would have overruled.
_WEAKER = frozenset({"user .env", "user config", "docker context", "default"})


class Project(NamedTuple):
    """The settings after the project's files had their say."""

    settings: Settings
    sources: Mapping[str, Source]
    notes: tuple[str, ...] = ()
    tightened: Mapping[str, Path] = MappingProxyType({})
    ignored: tuple[Ignored, ...] = ()


def apply_project_files(
    settings: Settings,
    sources: Mapping[str, Source],
    *,
    folder: Path,
    cwd: Path,
    own_files: Sequence[Path],
    remember: bool,
) -> Project:
    """Apply ``.env`` and ``.agentctl.toml`` of ``folder``, unless they are files that the user named or owns."""
    project = Project(settings, sources)
    told = Told(settings.state_dir)
    for name in PROJECT_FILES:
        path = folder / name
        found = None if any(_is_same(path, own) for own in own_files) else read_project_file(path)
        if found is None:
            continue
        place = f"./{name}" if folder == cwd else os.fspath(path)
        project, once = _apply(project, found, place, first=settings, stood=sources)
        if once and not (remember and told.knows(found.digest)):
            project = _also(project, once)
            if remember:
                told.remember(found.digest)
    return project


def _also(project: Project, notes: Sequence[str]) -> Project:
    return Project(
        project.settings, project.sources, (*project.notes, *map(safe_text, notes)), project.tightened, project.ignored
    )


def _is_same(path: Path, own: Path) -> bool:
    try:
        return path.samefile(own)
    except (OSError, ValueError):
        return False


def _apply(
    project: Project, file: ProjectFile, place: str, *, first: Settings, stood: Mapping[str, Source]
) -> tuple[Project, tuple[str, ...]]:
    """Return the tightened project and the notes that are told once."""
    if file.unread:
        return _also(project, (f"{place} was not read: {file.unread}; what it would lower is not lowered",)), ()
    read = from_toml if file.path.suffix == ".toml" else from_dotenv
    layer = read(file.text, kind="project file", path=file.path)
    offered, always = _offered(layer, place)
    resolved = {name: getattr(project.settings, name) for name in offered}
    step = tighten(resolved, offered)
    settings = project.settings.model_copy(update=dict(step.changes))
    always += [f"{place}: {problem}" for problem in layer.problems]
    always += [_lowered(name, step.changes[name], place) for name in step.changes]
    loosening = tighten({name: getattr(first, name) for name in offered}, offered).loosening
    usable = [name for name in layer.entries if name not in TIGHTENING or name in loosening]
    wanted = [name for name in usable if stood[name].kind in _WEAKER and not _is_what_holds(name, layer, first)]
    ignored = tuple(Ignored(name, layer.entries[name].name, file.path, place) for name in wanted)
    changed = Project(
        settings,
        {**project.sources, **{name: Source("project file", os.fspath(file.path)) for name in step.changes}},
        project.notes,
        {**project.tightened, **dict.fromkeys(step.changes, file.path)},
        (*project.ignored, *ignored),
    )
    return _also(changed, always), _once(layer, ignored, place)


def _offered(layer: Layer, place: str) -> tuple[dict[str, object], list[str]]:
    """Read the entries that could tighten; a wrong value tightens nothing, and that is always said."""
    offered: dict[str, object] = {}
    notes = []
    for name in layer.entries.keys() & TIGHTENING:
        entry = layer.entries[name]
        one, problems = validate({name: entry})
        if one is None:
            allowed = problems[0].text.rpartition("allowed: ")[2]
            notes.append(f"{entry.name} in {place} lowers nothing, its value is wrong; allowed: {allowed}")
        else:
            offered[name] = getattr(one, name)
    return offered, notes


def _is_what_holds(name: str, layer: Layer, settings: Settings) -> bool:
    if name in SECRET_FIELDS:
        held = getattr(settings, name)
        return held is not None and held.get_secret_value() == layer.entries[name].value
    one, _ = validate({name: layer.entries[name]})
    return one is not None and bool(getattr(one, name) == getattr(settings, name))


def _lowered(name: str, value: object, place: str) -> str:
    if name in ("deny", "ask"):
        said = "tools denied by" if name == "deny" else "tools to be asked about by"
        return f"{said} {place}: {', '.join(value) if isinstance(value, tuple) else value}"
    if name == "read_only":
        return f"read_only is set by {place}"
    amount = f"{value:g} s" if isinstance(value, float) else f"${value}" if isinstance(value, Decimal) else value
    return f"{name} is lowered to {amount} by {place}"


def _once(layer: Layer, ignored: Sequence[Ignored], place: str) -> tuple[str, ...]:
    notes = []
    if ignored:
        names = ", ".join(line.name for line in ignored)
        notes.append(f"{place} is not trusted, so this was ignored: {names}. To use it: {ignored[0].remedy}")
    notes += [note.replace(layer.place, place) for note in layer.notes]
    return tuple(notes)
