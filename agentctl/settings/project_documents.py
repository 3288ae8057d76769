"""Find the documents of a project that a run may use besides its settings: agents, notes, skills.

Each is trusted by its content.

They lie in the working directory itself; no folder above it is looked at. A link is never followed: neither a file nor
a folder of the way to it. Without such a folder a run makes one system call here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from agentctl.core.errors import StateError
from agentctl.settings.untrusted_files import ProjectFile, read_project_file

if TYPE_CHECKING:
    from agentctl.settings.trust_store import TrustState

DocumentKind = Literal["agent", "notes", "skill"]
PROJECT_FOLDER = ".agentctl"
AGENT_FOLDER = "agents"  # in the project's folder, and in the config folder
AGENT_SUFFIXES = (".toml", ".md")
NOTES_FILE = "AGENTS.md"
SKILL_FOLDER, SKILL_FILE = "skills", "SKILL.md"  # a folder for each skill, in the same two places
MOST_DOCUMENTS = 100


class ProjectDocument(NamedTuple):
    """A document, its place as messages name it, and whether it is trusted."""

    kind: DocumentKind
    file: ProjectFile
    place: str
    trust_state: TrustState = "unknown"

    @property
    def refusal(self) -> str:
        """Why the document is not used, "" if it is."""
        if self.file.unread or self.file.doubt:
            return self.file.unread or self.file.doubt
        if self.trust_state == "changed":
            return "it has changed since it was trusted"
        return "" if self.trust_state == "trusted" else "it is not trusted"


def has_documents(folder: Path) -> bool:
    """Return whether the project has a folder of agentctl's; it may be empty."""
    return _is_real_folder(folder / PROJECT_FOLDER)


def find_documents(
    folder: Path, *, cwd: Path, kinds: Sequence[DocumentKind] = ("agent", "notes", "skill")
) -> tuple[ProjectDocument, ...]:
    """Read the documents of the project in ``folder``, at most 64 KiB of each; none is trusted yet."""
    found = []
    for kind, path in _paths(folder):
        if kind not in kinds:
            continue
        file = read_project_file(path)
        if file is not None:
            relative = path.relative_to(folder)
            found.append(ProjectDocument(kind, file, f"./{relative}" if folder == cwd else os.fspath(path)))
    return tuple(found)


def with_trust(found: Sequence[ProjectDocument], state_dir: Path) -> tuple[ProjectDocument, ...]:
    """Return the documents with their trust states; if the list of trusted files is unusable, none is trusted."""
    from agentctl.settings.trust_store import TrustStore, trust_state  # noqa: PLC0415 - most projects have none

    try:
        records = TrustStore(state_dir).records()
    except StateError:
        return tuple(found)
    return tuple(one._replace(trust_state=trust_state(one.file, records)) for one in found)


def agent_paths(folder: Path) -> list[Path]:
    """Return the paths of the files in ``folder`` that describe agents, sorted, at most 100."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(AGENT_SUFFIXES) and name[0] != ".")  # noqa: PTH208
    except OSError:
        return []
    return [folder / name for name in names[:MOST_DOCUMENTS]]


def skill_paths(folder: Path) -> list[Path]:
    """Return the paths of the skills in ``folder``, sorted, at most 100; a linked folder of one is left out."""
    try:
        names = sorted(name for name in os.listdir(folder) if name[0] != ".")  # noqa: PTH208
    except OSError:
        return []
    found = [folder / name / SKILL_FILE for name in names if _is_real_folder(folder / name)]
    return [path for path in found if os.path.lexists(path)][:MOST_DOCUMENTS]


def _paths(folder: Path) -> Iterator[tuple[DocumentKind, Path]]:
    yield "notes", folder / NOTES_FILE
    own = folder / PROJECT_FOLDER
    if not _is_real_folder(own):
        return
    if _is_real_folder(own / AGENT_FOLDER):
        yield from (("agent", path) for path in agent_paths(own / AGENT_FOLDER))
    if _is_real_folder(own / SKILL_FOLDER):
        yield from (("skill", path) for path in skill_paths(own / SKILL_FOLDER))


def _is_real_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False
