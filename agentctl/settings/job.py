"""What a CI system says of the job that it runs: its repository, branch and name, from the variables of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agentctl.settings.labels import clean_labels, ref_of, repo_of


class _System(NamedTuple):
    """The variable that gives a CI system away, and those that may say a thing, the best first.

    ``repo`` are names or addresses, with the variable of the host before a name; ``job`` are joined by a slash.
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


def job_labels(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``repo``, ``ref`` and ``job`` as the CI system around us says; nothing outside of one.

    A job has the same name in each of its runs, so that what it costs adds up.
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
    return clean_labels({"repo": _named(repo, host), "ref": ref_of(ref), "job": job})


def _named(repo: str, host: str) -> str | None:
    """Return a repository as git's own address of it would be named; a bare name is one at a host."""
    is_address = "://" in repo or "@" in repo
    return repo_of(repo if is_address or not host else f"{host.rstrip('/')}/{repo}") if repo else None
