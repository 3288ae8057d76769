"""Runs the jobs of a GitHub workflow, or a composite action, as a runner would: step by step, with real shells."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.support.workflows.expressions import as_text, evaluate, expressions_in, fill, is_met

Json = dict[str, Any]
_STEP = {"name", "id", "if", "uses", "with", "run", "shell", "env", "working-directory", "continue-on-error"}
_JOB = {
    *("name", "if", "needs", "runs-on", "permissions", "env", "outputs", "steps", "strategy", "timeout-minutes"),
    *("concurrency", "defaults"),
}
_WORKFLOW = {"name", True, "permissions", "env", "jobs", "concurrency", "defaults"}  # "on" is a truth value in YAML 1.1
_SHELLS = {None: ["bash", "-e"], "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"]}
_COMMAND = re.compile(r"\s*::([a-zA-Z_-]+)(?: ([^:]*))?::(.*)|.*##\[([a-zA-Z_-]+)[^\]]*\](.*)")
PATIENCE_S = 300.0


class Command(NamedTuple):
    """A command to the runner that a step printed: ``::NAME WORDS::VALUE``."""

    name: str
    words: str
    value: str


@dataclass(frozen=True, slots=True)
class Step:
    """A step that ran, or was skipped: ``outcome`` is ``success``, ``failure`` or ``skipped``.

    ``log`` has the secrets and the masked values replaced, as the runner shows it; ``summary`` is its Markdown.
    """

    name: str
    outcome: str
    code: int = 0
    outputs: Mapping[str, str] = field(default_factory=dict)
    log: str = ""
    summary: str = ""
    commands: tuple[Command, ...] = ()
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A job that ran, or was skipped."""

    name: str
    result: str
    outputs: Mapping[str, str]
    steps: tuple[Step, ...]
    id: str = ""

    @property
    def log(self) -> str:
        return "".join(step.log for step in self.steps)

    def step(self, name: str) -> Step:
        """Return the step of this name."""
        return next(step for step in self.steps if step.name == name)


class Call(NamedTuple):
    """What an action is called with: its inputs as texts, the environment, and the contexts of the step."""

    inputs: Mapping[str, str]
    environ: Mapping[str, str]
    contexts: Json


Action = Callable[[Call], Mapping[str, str]]


@dataclass
class _State:
    """What the steps of one job, or of one action, leave for those after them."""

    environ: dict[str, str]
    contexts: Json
    status: str = "success"

    def seen(self, env: Mapping[str, str] | None = None) -> Json:
        return {**self.contexts, "env": env or {}, "job": {"status": self.status}}


class Machine:
    """A runner's machine: its folders, its environment, and what stands for the actions of others.

    ``actions`` is by name, without ``@`` and what follows: a folder with an ``action.yml``, or a function. ``environ``
    is what each step has, as on a machine of one's own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        actions: Mapping[str, Path | Action] | None = None,
        environ: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        event: Json | None = None,
        event_name: str = "push",
        done: Mapping[str, Mapping[str, str]] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.workspace, self.temp, self.home = folder / "workspace", folder / "temp", folder / "home"
        for made in (self.workspace, self.temp, self.home, folder / "files"):
            made.mkdir(parents=True, exist_ok=True)
        self.actions, self._secrets, self._done = dict(actions or {}), dict(secrets or {}), dict(done or {})
        self._numbers = itertools.count()
        github: Json = {
            "repository": "someone/project",
            "run_id": "4711",
            "run_attempt": "1",
            "event_name": event_name,
            "event": event or {},
            "ref_name": "main",
            "sha": "c0ffee",
            "workspace": str(self.workspace),
            "token": self._secrets.get("GITHUB_TOKEN", ""),
            "server_url": "https://github.com",
        }
        self.contexts: Json = {
            "github": github,
            "secrets": self._secrets,
            "vars": dict(variables or {}),
            "runner": {"temp": str(self.temp), "os": "Linux"},
            "inputs": {},
            "matrix": {},
            "strategy": {},
            "steps": {},
            "needs": {},
        }
        told = ("repository", "run_id", "run_attempt", "event_name", "ref_name", "sha", "workspace", "server_url")
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "RUNNER_TEMP": str(self.temp),
            "RUNNER_OS": "Linux",
            **{f"GITHUB_{name.upper()}": github[name] for name in told},
            **(environ or {}),
        }

    def run(self, path: Path, *, jobs: Iterable[str] | None = None) -> dict[str, Job]:
        """Run the jobs of a workflow, or those of these names, each after those that it needs and for each cell."""
        workflow = yaml.safe_load(path.read_text())
        _known(workflow, _WORKFLOW, path.name)
        ended: dict[str, Job] = {}
        waiting = {name: job for name, job in workflow["jobs"].items() if jobs is None or name in jobs}
        while waiting:
            name = next(name for name, job in waiting.items() if not set(_list(job.get("needs"))) & set(waiting))
            job = waiting.pop(name)
            _known(job, _JOB, name)
            needs = {one: _whole(one, ended) for one in _list(job.get("needs"))}
            matrix = job.get("strategy", {}).get("matrix", {})
            is_known = not isinstance(matrix, str) or all(need["result"] == "success" for need in needs.values())
            cells = list(_cells(matrix, {**self.contexts, "needs": needs})) if is_known else [{}]
            for number, cell in enumerate(cells):
                short = ", ".join(value for value in cell.values() if len(value) < 40)
                title = f"{name} ({short})" if cell else name
                strategy = {"job-index": number, "job-total": len(cells)}
                contexts = {**self.contexts, "matrix": cell, "strategy": strategy, "steps": {}, "needs": needs}
                ended[title] = replace(self._run_job(title, job, workflow, contexts), id=name)
        return ended

    def _run_job(self, name: str, job: Json, workflow: Json, contexts: Json) -> Job:
        failed = any(need["result"] != "success" for need in contexts["needs"].values())
        state = _State(dict(self.environ), contexts, "failure" if failed else "success")
        if not is_met(job.get("if"), state.seen()):
            return Job(name, "skipped", {}, ())
        for folder in (self.workspace, self.home):  # each job has a machine of its own
            shutil.rmtree(folder)
            folder.mkdir()
        state.status = "success"
        for level in (workflow, job):
            state.environ |= {key: fill(as_text(value), state.seen()) for key, value in level.get("env", {}).items()}
        state.environ["GITHUB_JOB"] = name.partition(" (")[0]
        steps = self._run_steps(job["steps"], state)
        outputs = {key: fill(value, state.seen()) for key, value in job.get("outputs", {}).items()}
        return Job(name, state.status, outputs, steps)

    def run_action(self, folder: Path, inputs: Mapping[str, str], env: Mapping[str, str] | None = None) -> Step:
        """Run a composite action, as a step that ``uses`` it with these inputs and this environment."""
        call = Call(inputs, {**self.environ, **(env or {})}, self.contexts)
        return self._composite("action", folder, call)

    def _composite(self, name: str, folder: Path, call: Call) -> Step:
        action = yaml.safe_load((folder / "action.yml").read_text())
        assert action["runs"]["using"] == "composite"
        declared = action.get("inputs", {})
        assert set(call.inputs) <= set(declared), f"{name} has no inputs {sorted(set(call.inputs) - set(declared))}"
        inputs = {key: call.inputs.get(key, as_text(one.get("default", ""))) for key, one in declared.items()}
        state = _State(dict(call.environ), {**call.contexts, "inputs": inputs, "steps": {}})
        state.environ["GITHUB_ACTION_PATH"] = str(folder)
        assert all("shell" in step for step in action["runs"]["steps"] if "run" in step), "it must name its shell"
        steps = self._run_steps(action["runs"]["steps"], state)
        outputs = {key: fill(one["value"], state.seen()) for key, one in action.get("outputs", {}).items()}
        return Step(
            name,
            state.status,
            next((step.code for step in steps if step.outcome == "failure"), 0),
            outputs,
            "".join(step.log for step in steps),
            "".join(step.summary for step in steps),
            tuple(command for step in steps for command in step.commands),
            steps,
        )

    def _run_steps(self, steps: list[Json], state: _State) -> tuple[Step, ...]:
        ran = []
        for one in steps:
            _known(one, _STEP, str(one.get("name")))
            name = one.get("name") or one.get("id") or one.get("uses") or one["run"].splitlines()[0]
            env = dict(state.environ)
            env |= {key: fill(as_text(value), state.seen(env)) for key, value in one.get("env", {}).items()}
            if not is_met(one.get("if"), state.seen(env)):
                step = Step(name, "skipped")
            elif one.get("id") in self._done:
                step = Step(name, "success", outputs=self._done[one["id"]])
            else:
                step = self._use(name, one, env, state) if "uses" in one else self._run_script(name, one, env, state)
            may_fail = one.get("continue-on-error", False) is True
            if step.outcome == "failure" and not may_fail:
                state.status = "failure"
            if "id" in one:
                conclusion = "success" if may_fail and step.outcome == "failure" else step.outcome
                told = {"outputs": step.outputs, "outcome": step.outcome, "conclusion": conclusion}
                state.contexts["steps"][one["id"]] = told
            ran.append(step)
        return tuple(ran)

    def _use(self, name: str, one: Json, env: dict[str, str], state: _State) -> Step:
        inputs = {key: fill(as_text(value), state.seen(env)) for key, value in one.get("with", {}).items()}
        used = one["uses"].partition("@")[0]
        assert used in self.actions, f"nothing stands for {used} here"
        action = self.actions[used]
        call = Call(inputs, env, state.contexts)
        if isinstance(action, Path):
            return replace(self._composite(name, action, call), name=name)
        return Step(name, "success", outputs=action(call))

    def _run_script(self, name: str, one: Json, env: dict[str, str], state: _State) -> Step:
        number = next(self._numbers)
        script = self.folder / "files" / f"{number}.sh"
        script.write_text(one["run"])
        files = {word: self.folder / "files" / f"{number}.{word}" for word in ("OUTPUT", "ENV", "PATH", "STEP_SUMMARY")}
        for file in files.values():
            file.touch()
        done = subprocess.run(
            [*_SHELLS[one.get("shell")], str(script)],
            cwd=self.workspace / fill(one.get("working-directory", "."), state.seen(env)),
            env={**env, **{f"GITHUB_{word}": str(file) for word, file in files.items()}},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
        )
        log = done.stdout.decode("utf-8", "replace")
        commands = tuple(commands_in(log))
        for secret in {*self._secrets.values(), *(one.value for one in commands if one.name == "add-mask")} - {""}:
            log = log.replace(secret, "***")
        state.environ |= entries(files["ENV"].read_text())
        for folder in files["PATH"].read_text().splitlines():
            state.environ["PATH"] = f"{folder}:{state.environ['PATH']}"
        outcome = "failure" if done.returncode else "success"
        outputs = entries(files["OUTPUT"].read_text())
        return Step(name, outcome, done.returncode, outputs, log, files["STEP_SUMMARY"].read_text(), commands)


def commands_in(log: str) -> Iterator[Command]:
    """Return what a runner would take for commands in what a step printed."""
    for line in log.splitlines():
        if (found := _COMMAND.match(line)) is not None:
            yield Command(found[1] or found[4], found[2] or "", found[3] or found[5] or "")


def entries(text: str) -> dict[str, str]:
    """Return what a file like ``$GITHUB_OUTPUT`` holds: lines with ``=``, and blocks that end with their delimiter."""
    found, lines = {}, iter(text.splitlines(keepends=True))
    for line in lines:
        block = re.fullmatch(r"([^=\n]+?)<<(\S+)\n", line)
        if block is None:
            name, sign, value = line.rstrip("\n").partition("=")
            assert sign, f"a runner refuses this line: {line!r}"
            found[name] = value
            continue
        held = []
        while (one := next(lines, None)) != f"{block[2]}\n":
            assert one is not None, f"a runner misses the end of {block[1]!r}"
            held.append(one)
        found[block[1]] = "".join(held).removesuffix("\n")
    return found


def fake_checkout(source: Path, workspace: Path) -> Action:
    """Return what stands for actions/checkout: it copies ``source``, and keeps no token."""

    def checkout(call: Call) -> Mapping[str, str]:
        assert call.inputs.get("persist-credentials") == "false", "a checkout would leave its token in .git/config"
        shutil.copytree(source, workspace / call.inputs.get("path", "."), symlinks=True, dirs_exist_ok=True)
        return {}

    return checkout


def fake_artifacts(store: Path, workspace: Path) -> dict[str, Action]:
    """Return what stands for the actions that pass files from one job to another."""

    def upload(call: Call) -> Mapping[str, str]:
        for pattern in call.inputs["path"].split():
            found = [Path(pattern)] if Path(pattern).is_absolute() else sorted(workspace.glob(pattern))
            assert found or call.inputs.get("if-no-files-found") != "error", f"there is no {pattern}"
            for path in found:
                target = store / call.inputs["name"]
                target.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(path, target, dirs_exist_ok=True)  # a folder's files, without the folder
                else:
                    shutil.copy(path, target)
        return {}

    def download(call: Call) -> Mapping[str, str]:
        target = workspace / call.inputs.get("path", ".")
        if "name" in call.inputs:
            shutil.copytree(store / call.inputs["name"], target, dirs_exist_ok=True)
            return {}
        merged = call.inputs.get("merge-multiple") == "true"
        for found in sorted(store.glob(call.inputs["pattern"])):
            shutil.copytree(found, target if merged else target / found.name, dirs_exist_ok=True)
        return {}

    return {"actions/upload-artifact": upload, "actions/download-artifact": download}


def _whole(name: str, ended: Mapping[str, Job]) -> Json:
    """Return a job that others need: the worst result of its cells, and the outputs of the last one."""
    cells = [job for job in ended.values() if job.id == name]
    results = {cell.result for cell in cells}
    worst = next((one for one in ("failure", "skipped") if one in results), "success")
    return {"result": worst, "outputs": cells[-1].outputs if cells else {}}


def _cells(matrix: Mapping[str, list[Any]] | str, contexts: Json) -> Iterator[dict[str, str]]:
    if isinstance(matrix, str):
        (expression,) = expressions_in(matrix)
        matrix = evaluate(expression, contexts)
    assert isinstance(matrix, Mapping)
    if "include" in matrix:
        assert set(matrix) == {"include"}, "include beside other keys is not known to this interpreter"
        yield from ({key: as_text(value) for key, value in cell.items()} for cell in matrix["include"])
        return
    for values in itertools.product(*matrix.values()):
        yield dict(zip(matrix, map(as_text, values), strict=True))


def _known(found: Mapping[Any, object], known: set[Any], where: str) -> None:
    assert set(found) <= known, f"{where}: {set(found) - known} is not known to this interpreter"


def _list(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())
