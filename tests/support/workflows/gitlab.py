"""Runs a job of GitLab as a runner with bash would: its rules, its variables, its ``script``, and what it keeps."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_JOB = {
    *("stage", "image", "timeout", "variables", "rules", "before_script", "script", "after_script", "allow_failure"),
    *("artifacts", "parallel", "retry", "when"),
}
_ARTIFACTS = {"when", "expire_in", "paths", "reports"}
_RULE = re.compile(r'\$(\w+) == "([^"]*)"')
_MOST_DOTENV = 5 * 1024
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Job:
    """A job that ran: ``result`` is ``success``, ``warning`` (it failed, and may) or ``failed``; None if no rule held.

    ``variables`` is what its dotenv report gives to later jobs, ``kept`` the files of its artifacts.
    """

    result: str | None
    code: int = 0
    log: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)


def run_job(path: Path, name: str, folder: Path, environ: Mapping[str, str]) -> Job:
    """Run one job of a file in ``folder``, which is its checkout; ``environ`` has the variables of GitLab's own."""
    job: dict[str, Any] = yaml.safe_load(path.read_text())[name]
    assert set(job) <= _JOB, set(job) - _JOB
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder.parent),
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_PROJECT_DIR": str(folder),
        **{key: _expanded(str(value), environ) for key, value in job.get("variables", {}).items()},
        **environ,
    }
    if not any(_holds(rule["if"], variables) for rule in job.get("rules", [{"if": None}])):
        return Job(None)
    lines = [*job.get("before_script", []), *job["script"]]
    script = "set -eo pipefail\nset +o noclobber\n" + "\n".join(lines)
    done = subprocess.run(
        ["bash"],
        input=script.encode(),
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_S,
    )
    if "after_script" in job:  # in a shell of its own, whatever became of the script
        after = "\n".join(job["after_script"])
        subprocess.run(["bash"], input=after.encode(), cwd=folder, env=variables, timeout=PATIENCE_S, check=True)
    allowed = (job.get("allow_failure") or {}).get("exit_codes", [])
    result = "success" if done.returncode == 0 else "warning" if done.returncode in allowed else "failed"
    artifacts = job.get("artifacts", {})
    assert set(artifacts) <= _ARTIFACTS, set(artifacts) - _ARTIFACTS
    reports = artifacts.get("reports", {})
    names = [*artifacts.get("paths", ()), *reports.values()]
    found = [path for one in names for path in sorted(folder.glob(one))]
    kept = {str(path.relative_to(folder)): path.read_text() for path in found}
    log = done.stdout.decode("utf-8", "replace")
    return Job(result, done.returncode, log, _dotenv(kept.get(reports.get("dotenv", ""), "")), kept)


def _holds(condition: str | None, variables: Mapping[str, str]) -> bool:
    if condition is None:
        return True
    found = _RULE.fullmatch(condition)
    assert found is not None, f"{condition!r} is not known to this interpreter"
    return variables.get(found[1]) == found[2]


def _dotenv(text: str) -> dict[str, str]:
    """Return the variables of a dotenv report; GitLab takes 5 kB of them, without blank lines, comments or quotes."""
    assert len(text.encode()) <= _MOST_DOTENV
    found = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        assert sign, line
        assert re.fullmatch(r"[A-Za-z_]\w*", name), line
        found[name] = value
    return found


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda found: variables.get(found[1], ""), text)
