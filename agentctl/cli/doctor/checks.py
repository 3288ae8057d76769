"""Questions about files: the settings, the keys, what lies in the working directory, the state folder, the ledger."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from agentctl.cli.doctor.findings import Finding, missing, ok, warning
from agentctl.core.errors import StateError
from agentctl.settings import KEY_NAMES, Loaded, ProviderChoice
from agentctl.settings.files import is_there

PROJECT_FILES = (".env", ".agentctl.toml")
LITTLE_SPACE = 100 * 1024**2


def settings(loaded: Loaded, notes: Sequence[str]) -> tuple[Finding, ...]:
    """Say where the settings come from, and what in them does nothing."""
    places = (loaded.config_file, loaded.settings.config_dir / ".env")
    files = [str(path) for path in places if is_there(path)]
    changed = sum(source.kind != "default" for source in loaded.sources.values())
    said = f"right; {changed} not at the default, the files are {' and '.join(files)}"
    if not files:
        said = f"right; {changed} not at the default, no file of the user's"
    lines = [note for note in notes if not _is_about_the_project(note, loaded)]
    return (*(warning("settings", line, "agentctl config show") for line in lines), ok("settings", said))


def project_files(loaded: Loaded, notes: Sequence[str]) -> tuple[Finding, ...]:
    """Say what the untrusted files of the working directory would like, and what they may."""
    found: list[Finding] = []
    for place in dict.fromkeys(line.place for line in loaded.ignored):
        lines = [line for line in loaded.ignored if line.place == place]
        names = ", ".join(line.name for line in lines)
        found.append(warning("project files", f"{place} is not trusted; ignored: {names}", lines[0].remedy))
    told = [note for note in notes if _is_about_the_project(note, loaded) and " is not trusted" not in note]
    found += [warning("project files", note) for note in told]
    return tuple(found) or (ok("project files", "none here that would change anything"),)


def _is_about_the_project(note: str, loaded: Loaded) -> bool:
    folder = loaded.settings.workdir
    places = [f"./{name}" for name in PROJECT_FILES]
    places += [os.fspath(folder / name) for name in PROJECT_FILES] if folder else []
    return any(place in note for place in places)


def key(loaded: Loaded, choice: ProviderChoice) -> tuple[Finding, ...]:
    """Say where the key lies and whether others could read it; never what it is."""
    name = KEY_NAMES.get(choice.provider)
    field = f"{choice.provider}_api_key"
    found: list[Finding] = []
    if name is None:
        found.append(ok("key", f"{choice.provider} needs none of ours"))
    elif loaded.settings.key_of(choice.provider) is None:
        found.append(warning("key", f"{name} is not set", f"agentctl providers set-key {choice.provider}"))
    else:
        source = loaded.sources[field]
        where = source.kind if source.kind == "environment" else str(source)
        found.append(ok("key", f"{loaded.names.get(field, name)} is set ({where})"))
    found += [warning("key", f"{empty} is set but empty", f"unset {empty}") for empty in loaded.empty_keys]
    return (*found, *_open_to_others(loaded.settings.config_dir, "key", 0o022, "others may write into"))


def _open_to_others(folder: Path, about: str, bits: int, said: str) -> tuple[Finding, ...]:
    try:
        found = folder.stat()
    except OSError:
        return ()
    if not stat.S_IMODE(found.st_mode) & bits or (bits == 0o022 and found.st_mode & stat.S_ISVTX):
        return ()
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    return (warning(about, f"{said} {folder} (mode {mode})", f"chmod 700 {shlex.quote(os.fspath(folder))}"),)


def state_folder(folder: Path) -> tuple[Finding, ...]:
    """Try to write where ledger and journals lie, or will; nothing stays behind."""
    from agentctl.ledger.place import file_system, is_networked

    about = "state folder"
    there = _nearest(folder)
    shown = str(folder) if there == folder else f"{folder} (not there yet)"
    kind = file_system(there)
    if is_networked(kind):
        said = f"{shown} lies on a network file system ({kind}), where a ledger may be damaged"
        return (missing(about, said, _MOVE, stops=True),)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0" * 4096)
            file.flush()
        free = shutil.disk_usage(there).free
    except OSError as error:
        why = (error.strerror or "not possible").lower()
        return (missing(about, f"{shown} cannot be written: {why}", _elsewhere(folder, error), stops=True),)
    found = list(_open_to_others(folder, about, 0o077, "others may look into"))
    if free < LITTLE_SPACE:
        found.append(warning(about, f"{free // 1024**2:,} MB free on the disk of {shown}", _MOVE))
    return tuple(found) or (ok(about, f"{shown} can be written; {free / 1024**3:,.1f} GB free"),)


_MOVE = "export AGENTCTL_STATE_DIR=/a/local/folder"


def _elsewhere(folder: Path, error: OSError) -> str:
    quoted = shlex.quote(os.fspath(folder))
    return f'sudo chown -R "$(id -u)" {quoted}' if isinstance(error, PermissionError) and folder.exists() else _MOVE


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest above it that there is."""
    return next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))


def ledger(path: Path) -> tuple[Finding, ...]:
    """Open the ledger, check it as far as a second goes, try to write to it, say what it last took."""
    from agentctl.ledger.condition import condition

    about = "ledger"
    try:
        found = condition(path)
    except StateError as error:
        return (missing(about, error.message, error.hint, stops=True),)
    if not found.there:
        return (ok(about, f"{path} is not there yet; the first run makes it"),)
    if found.damage:
        hint = f"mv {shlex.quote(os.fspath(path))} {shlex.quote(f'{path}.damaged')}"
        return (missing(about, f"{path} is damaged: {found.damage}", hint, stops=True),)
    last = "no charge yet"
    if found.last_at is not None:
        last = f"last charge {found.last_at:%Y-%m-%d %H:%M} UTC, {found.last_model}"
    if found.busy:
        return (warning(about, f"{path} is being written by another process; {last}", "agentctl doctor"),)
    checked = "sound" if found.checked else "too large to be checked in a second"
    return (ok(about, f"{path} opens, is {checked}, can be written; {last}"),)
