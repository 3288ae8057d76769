"""Read the working directory's own files: a trusted one is an ordinary layer, an untrusted one can only tighten."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import StateError
from agentctl.core.text import safe_text
from agentctl.settings.merge import merge, validate
from agentctl.settings.model import Settings
from agentctl.settings.names import SECRET_FIELDS
from agentctl.settings.sources import Kind, Layer, Problem, Source, from_dotenv, from_toml
from agentctl.settings.untrusted_files import (
    NEVER,
    ONE_WAY,
    TIGHTENING,
    IgnoredLine,
    NoticeMemory,
    ProjectFile,
    TrustPrompt,
    consequences,
    read_project_file,
    tighten,
)

if TYPE_CHECKING:
    from agentctl.settings.trust_store import TrustState

#: The stronger first, as with the user's own.
PROJECT_FILES = (".env", ".agentctl.toml")
#: The project's MCP servers, as other hosts read them; not a file of settings, and without effect until trusted.
MCP_FILE = ".mcp.json"

#: Sources that a trusted project file would have overridden.
_WEAKER = frozenset({"user .env", "user config", "docker context", "default"})


class FoundProjectFile(NamedTuple):
    """A project file, its place as messages name it, and whether it is trusted."""

    file: ProjectFile
    place: str
    trust_state: TrustState = "unknown"


class Project(NamedTuple):
    """The settings after the project files were applied."""

    settings: Settings
    sources: Mapping[str, Source]
    notes: tuple[str, ...] = ()
    tightened: Mapping[str, Path] = MappingProxyType({})
    ignored: tuple[IgnoredLine, ...] = ()
    offers: tuple[TrustPrompt, ...] = ()


def find_project_files(folder: Path, *, cwd: Path, own_files: Sequence[Path]) -> tuple[FoundProjectFile, ...]:
    """Read ``.env`` and ``.agentctl.toml`` of ``folder``, unless they are files that the user named or owns."""
    found: list[FoundProjectFile] = []
    for name in PROJECT_FILES:
        path = folder / name
        one = None if any(_is_same(path, own) for own in own_files) else find_project_file(path, cwd=cwd)
        found += [one] if one is not None else []
    return tuple(found)


def find_project_file(path: Path, *, cwd: Path) -> FoundProjectFile | None:
    """Read one file of a project, None if there is none."""
    file = read_project_file(path)
    if file is None:
        return None
    return FoundProjectFile(file, f"./{path.name}" if path.parent == cwd else os.fspath(path))


def with_trust_states(
    found: Sequence[FoundProjectFile], state_dir: Path
) -> tuple[tuple[FoundProjectFile, ...], tuple[str, ...]]:
    """Return the files with their trust states; if the list of trusted files is unusable, none is trusted, and a note
    says why.
    """
    from agentctl.settings.trust_store import TrustStore, trust_state  # noqa: PLC0415 - most runs meet no such file

    try:
        records = TrustStore(state_dir).records()
    except StateError as error:
        return tuple(found), (error.message,)
    return tuple(one._replace(trust_state=trust_state(one.file, records)) for one in found), ()


def read_layer(file: ProjectFile, kind: Kind) -> tuple[Layer, tuple[str, ...]]:
    """Return a file's layer without the names that no project file can set, and those names."""
    read = from_toml if file.path.suffix == ".toml" else from_dotenv
    layer = read(file.text, kind=kind, path=file.path)
    never = tuple(entry.name for field, entry in layer.entries.items() if field in NEVER)
    return layer._replace(entries={f: entry for f, entry in layer.entries.items() if f not in NEVER}), never


def trusted_layers(found: Sequence[FoundProjectFile]) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Return the layers of the trusted files, the stronger first, and notes on them."""
    layers, notes = [], []
    for one in found:
        if one.trust_state == "trusted":
            layer, never = read_layer(one.file, "trusted project file")
            layers.append(layer)
            if never:
                notes.append(safe_text(f"{one.place} has {', '.join(never)}, which no project file can set"))
    return tuple(layers), tuple(notes)


def apply_project_files(
    settings: Settings, sources: Mapping[str, Source], found: Sequence[FoundProjectFile], *, remember: bool
) -> Project:
    """Tighten the settings by the untrusted files, and note what else those would have set."""
    project = Project(settings, sources)
    memory = NoticeMemory(settings.state_dir)
    for one in found:
        if one.trust_state == "trusted":
            continue
        project, once = _apply(project, one, first=settings, stood=sources)
        if once and not (remember and memory.knows(one.file.digest)):
            project = _add_notes(project, once)
            if remember:
                memory.remember(one.file.digest)
    return project


def _add_notes(project: Project, notes: Sequence[str]) -> Project:
    return project._replace(notes=(*project.notes, *map(safe_text, notes)))


def _is_same(path: Path, own: Path) -> bool:
    try:
        return path.samefile(own)
    except (OSError, ValueError):
        return False


def _apply(
    project: Project, found: FoundProjectFile, *, first: Settings, stood: Mapping[str, Source]
) -> tuple[Project, tuple[str, ...]]:
    """Return the tightened project, and the notes that are shown only once."""
    file, place = found.file, found.place
    if file.unread:
        return _add_notes(project, (f"{place} was not read: {file.unread}; its lower limits do not apply",)), ()
    read = from_toml if file.path.suffix == ".toml" else from_dotenv
    layer = read(file.text, kind="project file", path=file.path)
    offered, always = _read_offered(layer, place)
    resolved = {name: getattr(project.settings, name) for name in offered}
    step = tighten(resolved, offered)
    settings = project.settings.model_copy(update=dict(step.changes))
    always += [f"{place}: {problem}" for problem in layer.problems]
    always += [_lowering_note(name, step.changes[name], place) for name in step.changes]
    loosening = tighten({name: getattr(first, name) for name in offered}, offered).loosening
    usable = [name for name in layer.entries if name not in TIGHTENING or name in loosening]
    weaker = weaker_than(file.path)
    wanted = [name for name in usable if stood[name].kind in weaker and not _is_what_holds(name, layer, first)]
    own = tuple(first.providers)
    ignored = tuple(IgnoredLine(name, layer.entries[name].name, file.path, place) for name in wanted)
    once = _notes_once(layer, ignored, found)
    changed = project._replace(
        settings=settings,
        sources={**project.sources, **{name: Source("project file", os.fspath(file.path)) for name in step.changes}},
        tightened={**project.tightened, **dict.fromkeys(step.changes, file.path)},
        ignored=(*project.ignored, *ignored),
        offers=(*project.offers, *_offers(layer, wanted, found, once, own)),
    )
    return _add_notes(changed, always), once


def weaker_than(path: Path) -> frozenset[str]:
    """Return the kinds of sources that a trusted file at ``path`` overrides."""
    return _WEAKER | ({"trusted project file"} if path.name == PROJECT_FILES[0] else frozenset())


def _offers(
    layer: Layer, wanted: Sequence[str], found: FoundProjectFile, once: Sequence[str], own: Sequence[str]
) -> tuple[TrustPrompt, ...]:
    """Return the trust prompt for a file: none if trusting it changes nothing, or would break the next run."""
    names = {name: layer.entries[name].name for name in wanted if name not in NEVER}
    if not names or found.file.doubt or problems_of(layer, own):
        return ()
    note = safe_text(once[0]) if once else ""
    changed = found.trust_state == "changed"
    return (TrustPrompt(found.file, found.place, tuple(names.values()), consequences(names), changed, note),)


def problems_of(layer: Layer, own: Sequence[str] = ()) -> tuple[Problem, ...]:
    """Return the problems of a file by itself: a run that used it would not start.

    ``own`` are the names of the user's own providers.
    """
    merged = merge((layer,), cwd=Path("/"))
    return (*layer.problems, *merged.problems, *validate(merged.entries, own=own).problems)


def _read_offered(layer: Layer, place: str) -> tuple[dict[str, object], list[str]]:
    """Return the valid entries that could tighten, and a note for each invalid one."""
    offered: dict[str, object] = {}
    notes = []
    for name in layer.entries.keys() & TIGHTENING:
        entry = layer.entries[name]
        values, problems = validate({name: entry})
        if problems:
            allowed = problems[0].text.rpartition("allowed: ")[2]
            notes.append(f"{entry.name} in {place} has a wrong value and lowers nothing; allowed: {allowed}")
        else:
            offered[name] = values[name]
    return offered, notes


def _is_what_holds(name: str, layer: Layer, settings: Settings) -> bool:
    if name in SECRET_FIELDS:
        held = getattr(settings, name)
        return held is not None and held.get_secret_value() == layer.entries[name].value
    values, problems = validate({name: layer.entries[name]}, own=tuple(settings.providers))
    return not problems and bool(values[name] == getattr(settings, name))


def _lowering_note(name: str, value: object, place: str) -> str:
    if name in ("deny", "ask"):
        said = "tools denied by" if name == "deny" else "tools to be asked about by"
        return f"{said} {place}: {', '.join(value) if isinstance(value, tuple) else value}"
    if name in ONE_WAY:
        return f"{name} is set by {place}" if value is True else f"{name} is set to {value} by {place}"
    amount = f"{value:g} s" if isinstance(value, float) else f"${value}" if isinstance(value, Decimal) else value
    return f"{name} is lowered to {amount} by {place}"


def _notes_once(layer: Layer, ignored: Sequence[IgnoredLine], found: FoundProjectFile) -> tuple[str, ...]:
    notes, place = [], found.place
    if ignored:
        names = ", ".join(line.name for line in ignored)
        why = "has changed since it was trusted" if found.trust_state == "changed" else "is not trusted"
        if found.trust_state == "changed" and found.file.doubt:
            why = f"is no longer trusted, because {found.file.doubt}"
        remedy = next((line for line in ignored if line.field not in NEVER), ignored[0]).remedy
        notes.append(f"{place} {why}, so this was ignored: {names}. To use it: {remedy}")
    notes += [note.replace(layer.place, place) for note in layer.notes]
    return tuple(notes)
