"""Our own workflow: what its steps run, with the real build and action, and stand-ins for docker and tests/run."""

from __future__ import annotations

import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.wire.plugin import OpenWire
from tests.support.workflows.github import Job, Machine, fake_artifacts, fake_checkout
from tests.support.workflows.machines import ROOT, installed, machine, put_agentctl, put_command

IN_SDIST = (
    *("action.yml", ".github/action/run.py", ".github/action/install.sh", ".github/workflows/ci.yml", "configs/ask.sh"),
    *("requirements.lock", "pyproject.toml", "tests/run"),
)


@pytest.fixture
def place(tmp_path: Path, wire: OpenWire) -> Machine:
    """Return a machine with a docker that writes down what it is asked."""
    folder = tmp_path / "machine"
    put_command(folder / "bin", "docker", f'printf "%s\\n" "$*" >>{tmp_path}/docker')
    place = machine(folder, wire(), done={"install": {"folder": str(installed(tmp_path / "installed"))}})
    place.actions |= {
        "actions/setup-python": lambda call: {},
        "./": ROOT,
        **fake_artifacts(tmp_path / "artifacts", place.workspace),
    }
    return place


PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def run(place: Machine, source: Path, name: str) -> dict[str, Job]:
    """Run the jobs of this name, in a checkout of ``source``."""
    place.actions["actions/checkout"] = fake_checkout(source, place.workspace)
    return place.run(ROOT / ".github" / "workflows" / "ci.yml", jobs=[name])


@pytest.mark.parametrize(("name", "words"), [("fast", "--fast"), ("tests", "")])
def test_tests_run_on_each_python(place: Machine, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "source" / "tests").mkdir(parents=True)
    (tmp_path / "source" / "tests" / "run").write_text(f'echo "[$*] CI=$CI" >>{tmp_path}/ran\n')
    jobs = run(place, tmp_path / "source", name)
    assert [job.result for job in jobs.values()] == ["success"] * len(PYTHONS)
    assert (tmp_path / "ran").read_text() == f"[{words}] CI=true\n" * len(PYTHONS)


def test_wheel_and_sdist_are_built_and_run(place: Machine, tmp_path: Path) -> None:
    without = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "dist")
    shutil.copytree(ROOT, tmp_path / "source", ignore=without, symlinks=True)
    put_agentctl(tmp_path / "shim")
    # An environment whose pip installs nothing: the packages are there, and building is what this is about.
    python = f'case "$*" in "-m pip "*) echo "$*" >>{tmp_path}/pip ;; *) exec {sys.executable} "$@" ;; esac'
    put_command(tmp_path / "shim", "python", python)
    put_command(place.folder / "bin", "python", f'mkdir -p "$3/bin"; cp {tmp_path}/shim/* "$3/bin"')
    job = run(place, tmp_path / "source", "packages")["packages"]
    assert job.result == "success", job.log
    assert "--require-hashes --only-binary :all: -r requirements.lock" in (tmp_path / "pip").read_text()
    packages = tmp_path / "artifacts" / "packages"
    (wheel,) = packages.glob("*.whl")
    (sdist,) = packages.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"agentctl", "agentctl_cli"}
    with tarfile.open(sdist) as packed:
        inside = {name.partition("/")[2] for name in packed.getnames()}
    assert set(IN_SDIST) <= inside
    assert (packages / "SHA256SUMS").read_text().count("\n") == 2
    assert "free" in job.step("Run what was built").log.lower()


def test_image_is_built_and_run(place: Machine, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    assert run(place, tmp_path / "source", "image")["image"].result == "success"
    built, ran = (tmp_path / "docker").read_text().splitlines()
    assert built == "build --tag agentctl:c0ffee ."
    assert ran == "run --rm agentctl:c0ffee run --provider builtin How much disk is free?"


def test_action_answers_without_a_model(place: Machine, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    job = run(place, tmp_path / "source", "action")["action"]
    assert job.result == "success", job.log
