"""Labels of each CI system, from its documented variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.core.limits import Initiator
from agentctl.settings.labels import find_initiator, job_labels
from tests.support.desk import Desk

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REPOSITORY": "acme/shop",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REF_NAME": "17/merge",
    "GITHUB_HEAD_REF": "feature/bills",
    "GITHUB_WORKFLOW": "CI",
    "GITHUB_JOB": "review",
    "GITHUB_RUN_ID": "123",
}
SYSTEMS = {
    "github": (GITHUB, "acme/shop", "feature/bills", "CI/review"),
    "github branch": (GITHUB | {"GITHUB_HEAD_REF": "", "GITHUB_REF_NAME": "main"}, "acme/shop", "main", "CI/review"),
    "github enterprise": (
        GITHUB | {"GITHUB_SERVER_URL": "https://git.example.org/"},
        "git.example.org/acme/shop",
        "feature/bills",
        "CI/review",
    ),
    "gitlab": (
        {
            "GITLAB_CI": "true",
            "CI_PROJECT_PATH": "group/sub/shop",
            "CI_SERVER_URL": "https://gitlab.example.org:8443",
            "CI_COMMIT_REF_NAME": "main",
            "CI_JOB_NAME": "review 1/2",
        },
        "gitlab.example.org/group/sub/shop",
        "main",
        "review 1/2",
    ),
    "jenkins": (
        {
            "JENKINS_URL": "https://ci.example.org/",
            "GIT_URL": "https://bot:token@github.com/acme/shop.git",
            "GIT_BRANCH": "origin/main",
            "JOB_NAME": "folder/shop",
        },
        "acme/shop",
        "main",
        "folder/shop",
    ),
    "buildkite": (
        {
            "BUILDKITE": "true",
            "BUILDKITE_REPO": "git@github.com:acme/shop.git",
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_PIPELINE_SLUG": "shop",
            "BUILDKITE_STEP_KEY": "review",
        },
        "acme/shop",
        "main",
        "shop/review",
    ),
    "circleci": (
        {
            "CIRCLECI": "true",
            "CIRCLE_REPOSITORY_URL": "git@github.com:acme/shop.git",
            "CIRCLE_TAG": "v1",
            "CIRCLE_JOB": "review",
        },
        "acme/shop",
        "v1",
        "review",
    ),
    "azure": (
        {
            "TF_BUILD": "True",
            "BUILD_REPOSITORY_URI": "https://acme@dev.azure.com/acme/shop/_git/shop",
            "BUILD_SOURCEBRANCH": "refs/heads/main",
            "BUILD_DEFINITIONNAME": "nightly",
            "SYSTEM_JOBNAME": "review",
        },
        "dev.azure.com/acme/shop/_git/shop",
        "main",
        "nightly/review",
    ),
    "bitbucket": (
        {"BITBUCKET_BUILD_NUMBER": "7", "BITBUCKET_REPO_FULL_NAME": "acme/shop", "BITBUCKET_BRANCH": "main"},
        "acme/shop",
        "main",
        None,
    ),
}


@pytest.mark.parametrize(("environ", "repo", "ref", "job"), SYSTEMS.values(), ids=SYSTEMS)
def test_a_ci_system_says_repository_branch_and_job(
    environ: dict[str, str], repo: str, ref: str, job: str | None
) -> None:
    found = {"repo": repo, "ref": ref, "job": job}
    assert job_labels(environ) == {name: value for name, value in found.items() if value is not None}


def test_ci_variables_are_ignored_outside_ci(tmp_path: Path) -> None:
    assert job_labels({name: value for name, value in GITHUB.items() if name != "GITHUB_ACTIONS"}) == {}
    desk = Desk(tmp_path)
    assert desk.load(environ={"GITHUB_REPOSITORY": "acme/shop"}).job == {}
    assert desk.load(environ=GITHUB).job["repo"] == "acme/shop"


@pytest.mark.parametrize(
    ("environ", "who"),
    [
        ({"USER": "ann"}, ("ann", "")),
        ({"LOGNAME": "ann", "USER": " "}, ("ann", "")),
        (GITHUB | {"GITHUB_ACTOR": "ann", "USER": "runner"}, ("ann", "123")),
        ({"GITLAB_USER_LOGIN": "ann", "CI_PIPELINE_ID": "8"}, ("ann", "8")),
        ({"BUILDKITE_BUILD_CREATOR": "Ann B", "BUILDKITE_BUILD_ID": "9f"}, ("Ann B", "9f")),
        ({"CIRCLE_WORKFLOW_ID": "w"}, ("", "w")),
        ({"BUILD_TAG": "jenkins-shop-7"}, ("", "jenkins-shop-7")),
        ({"BUILD_BUILDID": "7"}, ("", "7")),
        ({}, ("", "")),
        ({"USER": "a\x1b[31m\n" + "b" * 999}, ("a[31m" + "b" * 251, "")),
    ],
)
def test_the_user_and_the_run_of_a_ci_system_are_those_that_it_names(
    environ: dict[str, str], who: tuple[str, str], tmp_path: Path
) -> None:
    assert find_initiator(environ) == Desk(tmp_path).load(environ=environ).initiator == Initiator(*who)


def test_hostile_variables_become_short_printable_text() -> None:
    found = job_labels(GITHUB | {"GITHUB_HEAD_REF": "x\x1b[31m\n" + "y" * 999, "GITHUB_JOB": "\u202e"})
    assert found["ref"] == "x[31m" + "y" * 251
    assert found["job"] == "CI/"
