"""Files that other programs run or obey, changed by a shell command: the same list as for ``write_file``."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.autorun_files import ASKS, ORDINARY, REPORTED, file_paths
from tests.support.json_run import JsonRun, events_of
from tests.support.scripted_cli import answer, call

PACKAGES = "pytest pluggy iniconfig packaging pygments"
MORE_PACKAGES = "mypy typing_extensions mypy_extensions pathspec librt ast-serialize"
TOOLS = """
set -e
export PYTHONPATH=$PWD/lib
python3-coverage run -m pytest -q test_app.py
lib/ruff check app.py test_app.py
lib/ruff format app.py
"""
MORE_TOOLS = """
python3 -m pytest -q test_app.py
python3-coverage report
python3-coverage html -q
python3 -m mypy app.py
"""
NPM = """
cd web
npm init -y
echo all done
"""
SHELL = ("--tools", "run_shell")


def put(folder: Path, paths: list[str]) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("old")


def content(folder: Path) -> dict[str, str]:
    """Return the files below a folder with what is in them."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def made(folder: str, paths: list[str]) -> list[str]:
    """Return shell lines that make every path in a folder."""
    places = [Path(folder, path) for path in paths]
    folders = shlex.join(sorted({str(place.parent) for place in places}))
    return [f"mkdir -p {folders}", *(f"echo new > {shlex.quote(str(place))}" for place in places)]


def attacks(folder: str, paths: list[str]) -> list[str]:
    """Return shell lines that try to change, remove and replace every path in a folder, with its folders."""
    places = [shlex.quote(f"{folder}/{path}") for path in paths]
    lines = [f"echo evil > {place}; rm -f {place}; mv {place} {place}.gone" for place in places]
    lines += [f"ln -sf /dev/null {place}" for place in places[::4]]
    lines += [f"{each} {' '.join(places)}" for each in ("truncate -s 0", "chmod 777", "tee <work.sh >/dev/null")]
    return lines


@pytest.mark.needs("sandbox")
def test_the_list_holds_in_one_command(json_run: JsonRun, tmp_path: Path) -> None:
    asks, reported = file_paths(ASKS), file_paths(REPORTED)
    plain = [path for path in file_paths(ORDINARY) if not path.startswith((".github", ".venv"))] + [".venv/x"]
    assert len([path for path in asks if path.startswith(".")]) >= 40
    put(tmp_path / "old", asks)
    put(tmp_path / "renamed", [".envrc", ".vscode/tasks.json"])
    (tmp_path / ".envrc").write_text("old")
    lines = [*attacks("old", asks), *attacks(".", [".envrc"]), *made("new", asks), *made("ci", reported)]
    lines += [*made("plain", plain), *made(".", [".npmrc"])]
    lines += ["mv renamed elsewhere; mkdir -p renamed/.vscode; echo evil > renamed/.envrc"]
    (tmp_path / "work.sh").write_text("\n".join([*lines, "echo end"]))
    json_run.run([call("run_shell", command="sh work.sh 2>/dev/null"), answer("did")], *SHELL)
    assert (json_run.code, json_run.document["denied"]) == (0, [])
    assert "stdout:\nend" in json_run.last_result

    assert content(tmp_path / "old") == dict.fromkeys(asks, "old")
    assert (tmp_path / ".envrc").read_text() == "old"
    assert content(tmp_path / "elsewhere") == {".envrc": "old", ".vscode/tasks.json": "old"}
    assert content(tmp_path / "new") == content(tmp_path / "renamed") == {}
    assert content(tmp_path / "ci").keys() == set(reported)
    assert content(tmp_path / "plain").keys() == set(plain)

    notices = json_run.document["changed_files_run_later"]
    moved = {notice["path"]: Path(notice["moved_to"]) for notice in notices if notice["moved_to"]}
    inside = {
        os.path.relpath(file, place.parents[path.count("/")]).replace(".moved-by-agentctl", ""): file.read_text()
        for path, place in moved.items()
        for file in ([place] if place.is_file() else place.rglob("*"))
        if file.is_file()
    }
    assert inside == {
        **dict.fromkeys((f"new/{path}" for path in asks), "new\n"),
        ".npmrc": "new\n",
        "renamed/.envrc": "evil\n",
    }
    left = {notice["path"] for notice in notices if not notice["moved_to"]}
    assert left == {f"ci/{path}" for path in reported}
    assert "use write_file, which asks the user" in json_run.last_result
    assert "moved out of the workspace" in json_run.err
    assert len(events_of(json_run, "obeyed_files_changed")) == 1


@pytest.mark.needs("sandbox")
def test_unchanged_file_is_not_named(json_run: JsonRun, tmp_path: Path) -> None:
    put(tmp_path, [".envrc", "Makefile", "package.json", "node_modules/a/package.json"])
    json_run.run([call("run_shell", command="cat .envrc Makefile; echo x >> package.json"), answer("did")], *SHELL)
    assert json_run.document["changed_files_run_later"] == [
        {"path": "package.json", "obeyed_by": "npm", "moved_to": None, "restore_command": None}
    ]


def take_along(package: str, lib: Path) -> None:
    """Copy an installed package into the workspace: where the tests have theirs may be hidden from a command."""
    found = importlib.metadata.distribution(package)
    for file in found.files or ():
        if not {"__pycache__", ".."} & set(file.parts):
            (lib / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(found.locate_file(file)), lib / file)


@pytest.mark.needs("sandbox")
def test_everyday_tools_ask_nothing_and_only_a_new_package_json_is_named(
    json_run: JsonRun, tmp_path: Path, is_full: bool
) -> None:
    for package in f"{PACKAGES} {MORE_PACKAGES}".split() if is_full else PACKAGES.split():
        take_along(package, tmp_path / "lib")
    shutil.copy(str(shutil.which("ruff", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")), tmp_path / "lib")
    put(tmp_path, ["web/index.js"])
    (tmp_path / "app.py").write_text("def double(n: int) -> int:\n    return  2 * n\n")
    (tmp_path / "test_app.py").write_text("from app import double\n\n\ndef test_it():\n    assert double(2) == 4\n")
    json_run.run([call("run_shell", command=TOOLS + MORE_TOOLS * is_full + NPM, timeout=300), answer("did")], *SHELL)
    assert json_run.last_result.rstrip().endswith("all done"), json_run.last_result
    assert (json_run.code, json_run.document["denied"], events_of(json_run, "approval_asked")) == (0, [], [])
    assert json_run.document["changed_files_run_later"] == [
        {"path": "web/package.json", "obeyed_by": "npm", "moved_to": None, "restore_command": None}
    ]
    left = {".coverage", ".pytest_cache", ".ruff_cache", *((".mypy_cache", "htmlcov") if is_full else ())}
    assert left <= {path.name for path in tmp_path.iterdir()}
    assert "return 2 * n" in (tmp_path / "app.py").read_text()
    assert "note: " not in json_run.last_result


@pytest.mark.needs("sandbox")
def test_a_module_that_agentctl_would_import_can_neither_be_changed_nor_made(
    json_run: JsonRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    put(tmp_path, ["mine.py", "deep/other.py"])
    json_run.run(
        [call("run_shell", command="echo x > mine.py; echo x > anyio.py; echo x > deep/other.py"), answer("did")],
        *SHELL,
    )
    assert {path: text for path, text in content(tmp_path).items() if ".pyc" not in path} == {
        "mine.py": "old", "deep/other.py": "x\n",
    }  # fmt: skip
    assert [(notice["path"], notice["obeyed_by"]) for notice in json_run.document["changed_files_run_later"]] == [
        ("anyio.py", "agentctl")
    ]


@pytest.mark.needs("sandbox")
def test_a_file_to_which_an_obeyed_link_leads_is_read_only_too(json_run: JsonRun, tmp_path: Path) -> None:
    put(tmp_path, ["conf/env.sh", "conf/free", "editor/tasks.json", "scripts/check.sh", "scripts/free", ".husky/x"])
    (tmp_path / ".envrc").symlink_to("conf/env.sh")
    (tmp_path / ".vscode").symlink_to("editor")
    (tmp_path / ".husky/pre-commit").symlink_to("../scripts/check.sh")
    lines = [f"echo evil > {path}; rm -f {path}" for path in ("conf/env.sh", "editor/tasks.json", "scripts/check.sh")]
    lines += ["echo evil > editor/new.json", "mv scripts away; mkdir scripts; echo evil > scripts/check.sh"]
    lines += ["echo new > conf/free", "rm .envrc; echo evil > .envrc"]
    json_run.run([call("run_shell", command="; ".join(lines)), answer("did")], *SHELL)
    assert (tmp_path / ".envrc").read_text() == (tmp_path / ".vscode/tasks.json").read_text() == "old"
    assert [path.name for path in (tmp_path / "editor").iterdir()] == ["tasks.json"]
    assert content(tmp_path / "scripts") == {}
    assert not (tmp_path / ".husky/pre-commit").exists()
    assert (tmp_path / "conf/free").read_text() == "new\n"
    moved = {notice["path"]: notice["obeyed_by"] for notice in json_run.document["changed_files_run_later"]}
    assert moved == {".envrc": "direnv", "scripts/check.sh": "husky (a link leads to it)"}


@pytest.mark.needs("sandbox")
def test_changes_of_an_interrupted_command_are_named(json_run: JsonRun, tmp_path: Path) -> None:
    json_run.run([call("run_shell", command="echo x > Makefile; echo x > .envrc; sleep 60")], *SHELL, "--timeout", "3")
    assert json_run.document["status"] == "timeout"
    named = {notice["path"]: notice["moved_to"] for notice in json_run.document["changed_files_run_later"]}
    assert named.keys() == {"Makefile", ".envrc"}
    assert named["Makefile"] is None
    assert Path(named[".envrc"]).read_text() == "x\n"
    assert not (tmp_path / ".envrc").exists()
    assert "changed files that other programs run later: Makefile (make)" in json_run.err
    (event,) = events_of(json_run, "obeyed_files_changed")
    assert (event["call"], len(event["files"])) == (None, 2)
