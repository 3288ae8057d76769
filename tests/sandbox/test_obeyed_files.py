"""Files that other programs run or obey, by the door of the shell: the same list as for ``write_file``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.scripted_cli import answer, call
from tests.permission.test_obeyed import ASKS, NOBODY, REPORTED
from tests.sandbox.test_kit_wired import Told
from tests.write.test_obeyed_door import events_of, files

SHELL = ("--tools", "run_shell")


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    import gc

    monkeypatch.chdir(tmp_path)
    yield Told(capsys)
    gc.enable()
    gc.unfreeze()


def put(folder: Path, paths: list[str]) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("old")


def content(folder: Path) -> dict[str, str]:
    """Return the files below a folder with what is in them."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def made(folder: str, paths: list[str]) -> list[str]:
    """Return shell lines that make every path in a folder."""
    places = [shlex.quote(f"{folder}/{path}") for path in paths]
    return [f"mkdir -p $(dirname {place}); echo new > {place}" for place in places]


def attacks(folder: str, paths: list[str]) -> list[str]:
    """Return shell lines that try to change, remove and replace every path in a folder, with its folders."""
    lines = []
    for path in paths:
        place = shlex.quote(f"{folder}/{path}")
        lines += [f"echo evil > {place}", f"rm -f {place}", f"mv {place} {place}.gone", f"ln -sf /dev/null {place}"]
        lines += [f"truncate -s 0 {place}", f"chmod 777 {place}", f"cp work.sh {place}"]
    return lines


def test_the_list_holds_in_one_command(told: Told, tmp_path: Path) -> None:
    asks, reported = files(ASKS), files(REPORTED)
    plain = [path for path in files(NOBODY) if not path.startswith((".github", ".venv"))] + [".venv/x"]
    assert len([path for path in asks if path.startswith(".")]) >= 40
    put(tmp_path / "old", asks)
    put(tmp_path / "renamed", [".envrc", ".vscode/tasks.json"])
    (tmp_path / ".envrc").write_text("old")
    lines = [*attacks("old", asks), *attacks(".", [".envrc"]), *made("new", asks), *made("ci", reported)]
    lines += [*made("plain", plain), *made(".", [".npmrc"])]
    lines += ["mv renamed elsewhere; mkdir -p renamed/.vscode; echo evil > renamed/.envrc"]
    (tmp_path / "work.sh").write_text("\n".join([*lines, "echo end"]))
    told.run([call("run_shell", command="sh work.sh 2>/dev/null"), answer("did")], *SHELL)
    assert (told.code, told.document["denied"]) == (0, [])
    assert "stdout:\nend" in told.last_result

    assert content(tmp_path / "old") == dict.fromkeys(asks, "old")
    assert (tmp_path / ".envrc").read_text() == "old"
    assert content(tmp_path / "elsewhere") == {".envrc": "old", ".vscode/tasks.json": "old"}
    assert content(tmp_path / "new") == content(tmp_path / "renamed") == {}
    assert content(tmp_path / "ci").keys() == set(reported)
    assert content(tmp_path / "plain").keys() == set(plain)

    notices = told.document["changed_files_run_later"]
    moved = {notice["path"]: Path(notice["moved_to"]) for notice in notices if notice["moved_to"]}
    inside = {
        os.path.relpath(file, place.parents[path.count("/")]): file.read_text()
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
    assert "use write_file, which asks the user" in told.last_result
    assert "moved out of the workspace" in told.err
    assert len(events_of(told, "obeyed_files_changed")) == 1


def test_what_was_there_and_is_left_alone_is_not_named(told: Told, tmp_path: Path) -> None:
    put(tmp_path, [".envrc", "Makefile", "package.json", "node_modules/a/package.json"])
    told.run([call("run_shell", command="cat .envrc Makefile; echo x >> package.json"), answer("did")], *SHELL)
    assert told.document["changed_files_run_later"] == [{"path": "package.json", "obeyed_by": "npm", "moved_to": None}]
