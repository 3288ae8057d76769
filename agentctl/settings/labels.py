"""Label runs from --label, the repository's git files and the variables of a CI system; git itself never runs."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.limits import Initiator
from agentctl.core.redaction import redact
from agentctl.core.text import safe_text

MOST_LABELS = 32
MOST_KEY = 64
MOST_VALUE = 256
_DIGEST = 12
_MOST_HEAD = 4 * 1024
_MOST_CONFIG = 256 * 1024
_MOST_FOLDERS = 64  # from the working directory upwards
_KEY = re.compile(rf"[a-z0-9_.-]{{1,{MOST_KEY}}}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REFS = ("refs/heads/", "refs/tags/", "refs/remotes/origin/", "refs/")
_NOWHERE = "refs/heads/.invalid"  # the content of HEAD if references are kept in reftables

#: The variables that name the user, and the run of a CI system as the bindings of leases do; the first that is set.
_WHO = {
    "user_name": ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR", "USER", "LOGNAME"),
    "ci_run": (
        *("GITHUB_RUN_ID", "CI_PIPELINE_ID", "BUILDKITE_BUILD_ID", "CIRCLE_WORKFLOW_ID", "BUILD_TAG", "BUILD_BUILDID"),
    ),
}

#: Hosts whose repositories are usually called ``owner/name``.
_PUBLIC = frozenset({"github.com", "gitlab.com", "bitbucket.org"})


def check_labels(labels: Mapping[str, object]) -> dict[str, str]:
    """Return the user's labels if they are valid.

    Raises:
        UsageError: a name has characters other than ``a-z0-9_.-``, a value has control characters, a label is too long,
            or there are too many.
    """
    if len(labels) > MOST_LABELS:
        raise UsageError(f"{len(labels)} labels are too many", hint=f"give at most {MOST_LABELS} of them")
    own: dict[str, str] = {}
    for name, value in labels.items():
        if not _KEY.fullmatch(name):
            near = re.sub(r"[^a-z0-9_.-]+", "-", name.lower())[:MOST_KEY].strip("-")
            raise UsageError(
                safe_text(f'a label cannot be called "{name[:MOST_KEY]}"'),
                hint=f"use at most {MOST_KEY} of a-z 0-9 _ . -" + (f", such as {near}" if near else ""),
            )
        if not isinstance(value, str) or len(value) > MOST_VALUE or not value.isprintable():
            raise UsageError(
                f"the value of the label {name} is not allowed",
                hint=f"give at most {MOST_VALUE} characters, none of them a control character",
            )
        own[name] = value
    return own


def clean_labels(labels: Mapping[str, str | None]) -> dict[str, str]:
    """Return labels found by the program, each cut to a valid value; empty ones are dropped."""
    short = {name: "".join(filter(str.isprintable, value or "")).strip() for name, value in labels.items()}
    return {name: value[:MOST_VALUE] for name, value in short.items() if value}


def run_labels(
    own: Mapping[str, str], *, workdir: str, job: Mapping[str, str], secrets: Iterable[str] = ()
) -> dict[str, str]:
    """Return the labels of a run; the user's ``own`` override those of the CI job, which override those of the
    repository.
    """
    found = {**git_labels(Path(workdir)), **job, "workdir": workdir}
    shown = {name: redact(value, secrets) for name, value in found.items()}
    return {**clean_labels(shown | {"workdir": folder_label(shown["workdir"])}), **own}


def folder_label(path: str) -> str:
    """Return the label of a folder, which differs from that of any other folder.

    Bytes that are no UTF-8 and control characters are escaped (``/srv/caf\\xe9``); a digest replaces the middle of a
    path that is too long for a label.
    """
    shown = path if path.isprintable() else "".join(map(_escape, path))
    if len(shown) <= MOST_VALUE:
        return shown
    import hashlib  # noqa: PLC0415 - most paths are short

    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    kept = (MOST_VALUE - _DIGEST - 2) // 2
    return f"{shown[:kept]}…{digest}…{shown[-kept:]}"


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte, as Python keeps it in a path
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def repo_of(url: str) -> str | None:
    """Return the repository name of a remote's address: ``owner/name`` at the public hosts, else ``host/path``, or
    None.

    A user name and everything else before an ``@`` is left out, and so is everything after a ``?``.
    """
    text = re.split(r"[?#]", url.strip(), maxsplit=1)[0]
    if not text or len(text) > 2 * MOST_VALUE or not text.isprintable() or " " in text:
        return None
    scheme, mark, rest = text.partition("://")
    if not mark:
        rest = text
    if "@" in rest:  # a password may contain slashes: only the text after the last @ is the address
        rest = rest.rpartition("@")[2]
    if (mark and scheme.lower() == "file") or (not mark and ":" not in rest.partition("/")[0]):
        return rest.rstrip("/").removesuffix(".git") or None
    host, _, path = rest.partition("/") if mark else rest.partition(":")
    host = host.lower()
    host = re.sub(r":[0-9]*$", "", host) if mark else host
    path = path.strip("/").removesuffix(".git").rstrip("/")
    if not path or not host:
        return None
    return path if host in _PUBLIC else f"{host}/{path}"


def ref_of(name: str) -> str | None:
    """Return a branch or a tag by its own name, a commit by its first 12 digits, None for anything else."""
    if _COMMIT.fullmatch(name):
        return name[:12]
    if name == _NOWHERE:
        return None
    return next((name.removeprefix(start) for start in _REFS if name.startswith(start)), name) or None


class _Repository(NamedTuple):
    """The folder of a work tree's own HEAD, and the folder that all work trees share."""

    own: Path
    shared: Path


def git_labels(folder: Path) -> dict[str, str]:
    """Return ``repo`` and ``ref`` from the files of the repository around ``folder``; empty outside a repository."""
    found = _repository(folder)
    if found is None:
        return {}
    head = (_read_beginning(found.own / "HEAD", _MOST_HEAD) or "").strip()
    url = _origin_url(_read_beginning(found.shared / "config", _MOST_CONFIG) or "")
    ref = ref_of(head.removeprefix("ref:").strip()) if head.startswith("ref:") or _COMMIT.fullmatch(head) else None
    return clean_labels({"repo": repo_of(url), "ref": ref})


def _repository(folder: Path) -> _Repository | None:
    """Find ``.git`` in the folder or above it: a folder, or the file of a work tree or submodule that names one."""
    start = Path(os.path.realpath(folder))
    for place in (start, *start.parents)[:_MOST_FOLDERS]:
        git = place / ".git"
        if (text := _read_beginning(git, _MOST_HEAD)) is not None:
            if not text.startswith("gitdir:"):
                return None
            own = place / text.removeprefix("gitdir:").strip()
            shared = (_read_beginning(own / "commondir", _MOST_HEAD) or "").strip()
            return _Repository(own, own / shared)
        if _read_beginning(git / "HEAD", _MOST_HEAD) is not None:
            return _Repository(git, git)
    return None


def _read_beginning(path: Path, most: int) -> str | None:
    """Return the beginning of a regular file, None for anything else; never blocks."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            return file.read(most).decode("utf-8", "replace") if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except (OSError, ValueError):
        return None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _origin_url(config: str) -> str:
    """Return the address of the remote ``origin``, or "". The last one counts, as with git."""
    inside, url = False, ""
    for line in config.splitlines():
        said = line.strip()
        if said.startswith("["):
            inside = bool(re.match(r'\[remote\s+"origin"\s*\]', said, re.IGNORECASE))
        elif inside and (found := re.match(r"url\s*=\s*(.*)", said, re.IGNORECASE)):
            url = found[1].strip().strip('"')
    return url


class _System(NamedTuple):
    """The variable that identifies a CI system, and the variables that may hold each label, the best first.

    ``repo`` holds names or addresses; a name comes with the variable of its host. The ``job`` values are joined by
    slashes.
    """

    mark: str
    repo: tuple[str, ...]
    ref: tuple[str, ...]
    job: tuple[str, ...]
    host: str = ""


_SYSTEMS = (
    _System(
        "GITHUB_ACTIONS",
        ("GITHUB_REPOSITORY",),
        ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "GITHUB_REF"),
        ("GITHUB_WORKFLOW", "GITHUB_JOB"),
        "GITHUB_SERVER_URL",
    ),
    _System(
        "GITLAB_CI",
        ("CI_PROJECT_PATH",),
        ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"),
        ("CI_JOB_NAME",),
        "CI_SERVER_URL",
    ),
    _System("BUILDKITE", ("BUILDKITE_REPO",), ("BUILDKITE_BRANCH",), ("BUILDKITE_PIPELINE_SLUG", "BUILDKITE_STEP_KEY")),
    _System("CIRCLECI", ("CIRCLE_REPOSITORY_URL",), ("CIRCLE_BRANCH", "CIRCLE_TAG"), ("CIRCLE_JOB",)),
    _System(
        "TF_BUILD",
        ("BUILD_REPOSITORY_URI", "BUILD_REPOSITORY_NAME"),
        ("SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"),
        ("BUILD_DEFINITIONNAME", "SYSTEM_JOBNAME"),
    ),
    _System(
        "BITBUCKET_BUILD_NUMBER",
        ("BITBUCKET_GIT_HTTP_ORIGIN", "BITBUCKET_REPO_FULL_NAME"),
        ("BITBUCKET_BRANCH", "BITBUCKET_TAG"),
        (),
    ),
    _System("JENKINS_URL", ("GIT_URL",), ("CHANGE_BRANCH", "BRANCH_NAME", "GIT_BRANCH"), ("JOB_NAME",)),
)


def find_initiator(environ: Mapping[str, str]) -> Initiator:
    """Return who runs this process, and in which run of a CI system."""
    found = {
        what: next((value for name in names if (value := environ.get(name, "").strip())), "")
        for what, names in _WHO.items()
    }
    return Initiator(**clean_labels(found))


def job_labels(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``repo``, ``ref`` and ``job`` from the variables of a CI system; empty outside CI.

    A job has the same name in each of its runs, so that its costs add up.
    """
    system = next((one for one in _SYSTEMS if environ.get(one.mark, "").strip().lower() not in ("", "false")), None)
    if system is None:
        return {}
    repo = next((value for name in system.repo if (value := environ.get(name, "").strip())), "")
    host = environ.get(system.host, "").strip()
    ref = next((value for name in system.ref if (value := environ.get(name, "").strip())), "")
    if system.mark == "JENKINS_URL":
        ref = ref.removeprefix("origin/")
    job = "/".join(value for name in system.job if (value := environ.get(name, "").strip()))
    return clean_labels({"repo": _repo_name(repo, host), "ref": ref_of(ref), "job": job})


def _repo_name(repo: str, host: str) -> str | None:
    """Return a repository's name as ``repo_of`` would derive it from its git address; a bare name is one at a host."""
    is_address = "://" in repo or "@" in repo
    return repo_of(repo if is_address or not host else f"{host.rstrip('/')}/{repo}") if repo else None
