"""A model's file beside a script, in an editable install or in the current folder is never imported by agentctl."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agentctl.sandbox.import_path import child_imports, import_folders, is_importable, own_program

ROOT = Path(__file__).parents[3]
EVIL = "import pathlib\npathlib.Path({mark!r}).touch()\nraise SystemExit('a module of the workspace was imported')\n"
# Written after the script has loaded its own modules, as a model would; a child loads them again.
NAMES = ("anyio", "pydantic", "typing_extensions", "json", "re", "dataclasses", "agentctl_extra", "sitecustomize")
SCRIPT = """
import sys
from pathlib import Path

import anyio
from agentctl.tools.toolbox import toolbox

workspace = Path(sys.argv[1])
tool = toolbox(workspace=workspace).get("search_files")
wanted = {{"text": "needle [0-9]+", "regex": True, "pattern": "*.txt"}}
anyio.run(tool, wanted)  # everything that this process needs is loaded
for name in {names!r}:
    (workspace / f"{{name}}.py").write_text({evil!r})
(workspace / "notes.txt").write_text("first\\nneedle 12\\n")
print(anyio.run(tool, wanted))
"""


def script(folder: Path) -> Path:
    """Write the script that searches ``folder`` after a model has been there."""
    path = folder / "run_agent.py"
    path.write_text(SCRIPT.format(names=NAMES, evil=EVIL.format(mark=str(folder / "PWNED"))))
    return path


@pytest.mark.parametrize("installed", ["elsewhere", "in the workspace", "with a .pth file"])
def test_the_child_of_a_search_imports_nothing_from_the_workspace(tmp_path: Path, installed: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    python = Path(sys.executable)
    if installed != "elsewhere":  # as an editable install: the project's own root is on the path
        shutil.copytree(ROOT / "agentctl", work / "agentctl")
        env["PYTHONPATH"] = str(work)
    if installed == "with a .pth file":
        del env["PYTHONPATH"]
        python = with_pth(tmp_path / "venv", [str(work), *sys.path])
    argv = [str(python), str(script(work)), str(work)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "notes.txt:2: needle 12" in done.stdout
    assert not (work / "PWNED").exists()


def with_pth(folder: Path, path: list[str]) -> Path:
    """Make a virtual environment that imports from ``path``, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "editable.pth").write_text("\n".join(path))
    return folder / "bin/python"


@pytest.mark.parametrize("linked", [False, True])
def test_the_current_folder_is_not_imported_from_by_python_m(tmp_path: Path, linked: bool) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("anyio", "pydantic", "pydantic_core", "typer", "psutil", "tempfile", "json", "platformdirs"):
        (folder / f"{name}.py").write_text(EVIL.format(mark=str(folder / "PWNED")))
    if linked:
        (tmp_path / "link").symlink_to(folder)
        folder = tmp_path / "link"
    argv = [sys.executable, "-m", "agentctl", "run", "--provider", "builtin", "How much disk is free?"]
    env = {**os.environ, "PWD": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, (folder / "PWNED").exists()) == (0, False), done.stderr


@pytest.mark.parametrize("flags", [["-P"], ["-I"]])
def test_a_path_without_the_current_folder_keeps_its_first_entry(tmp_path: Path, flags: list[str]) -> None:
    code = "import runpy, sys; before = list(sys.path); sys.argv = ['agentctl', '--version']\n"
    code += f"sys.path[:0] = [{str(ROOT)!r}]\n"
    code += "try: runpy.run_module('agentctl', run_name='__main__', alter_sys=True)\nexcept SystemExit: pass\n"
    code += f"sys.exit(0 if sys.path == [{str(ROOT)!r}, *before] else 1)"
    done = subprocess.run([sys.executable, *flags, "-c", code], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_childs_path_has_no_entry_of_the_workspace_whatever_it_is_called(tmp_path: Path) -> None:
    work, other = tmp_path / "work", tmp_path / "work-beside"
    (work / "src").mkdir(parents=True)
    other.mkdir()
    (tmp_path / "link").symlink_to(work)
    (other / "link").symlink_to(work / "src")
    path = ["", ".", "src", str(work), f"{work}/", f"{work}/src", f"{work}/src/../src", f"{other}/../work"]
    path += [str(tmp_path / "link"), str(other / "link"), f"{work}/lib.zip", f"{work}/gone", str(other), "/usr/lib"]
    assert child_imports(work, path).path == (str(other), "/usr/lib")
    assert child_imports(tmp_path / "link", path).path == (str(other), "/usr/lib")


def test_the_package_is_named_only_where_the_path_does_not_lead_to_it(tmp_path: Path) -> None:
    assert child_imports(tmp_path, [str(ROOT), "/usr/lib"]) == ((str(ROOT), "/usr/lib"), "")
    assert child_imports(ROOT, [str(ROOT), "/usr/lib"]) == (("/usr/lib",), str(ROOT / "agentctl"))


def test_the_package_in_the_workspace_is_agentctls_own_and_the_workspace_is_not() -> None:
    assert str(ROOT / "agentctl") in own_program(ROOT)
    assert str(ROOT) not in own_program(ROOT)
    assert str(ROOT) in own_program(ROOT.parent) or str(ROOT / "agentctl") in own_program(ROOT.parent)


def test_import_folders_of_this_process_are_named_relative_to_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "work/src").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "work/src")
    path = [str(tmp_path / "work"), str(tmp_path / "link"), "/usr/lib", str(tmp_path / "work/tools")]
    assert import_folders(tmp_path / "work", path) == (".", "src", "tools")
    assert import_folders(tmp_path / "elsewhere", path) == ()


FOLDERS = (".", "src", "tools/lib")
IMPORTABLE = (
    *("anyio.py", "src/anyio.py", "tools/lib/x.py", "anyio/__init__.py", "src/pydantic/__init__.py", "x.so"),
    *("x.abi3.so", "x.pyc", "src/json/__init__.pyc", "tools/lib/p/__init__.py", "sitecustomize.py"),
)
NOT_IMPORTABLE = (
    *("notes.txt", "docs/x.py", "tools/x.py", "src/package/module.py", "a/b/__init__.py", ".py", "src/.py"),
    *("x.pyi", "x.py.bak", "x.PY.txt", "data.so.1", "lib/x.so"),
)


@pytest.mark.parametrize("path", IMPORTABLE)
def test_a_module_directly_in_an_import_folder_is_importable(path: str) -> None:
    assert is_importable(path, FOLDERS)


@pytest.mark.parametrize("path", NOT_IMPORTABLE)
def test_any_other_file_is_not_importable(path: str) -> None:
    assert not is_importable(path, FOLDERS)


@pytest.mark.needs("root")
def test_installation_that_cannot_be_read_any_more_is_not_an_error(tmp_path: Path) -> None:
    """The case: agentctl of root, in root's closed home, runs commands as another user."""
    shutil.copytree(ROOT / "agentctl", tmp_path / "closed/agentctl")
    (tmp_path / "closed").chmod(0o700)
    ask = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from agentctl.sandbox import import_path; os.setuid(65534);"
        " print(import_path.own_program('/var'))"
    )
    words = [sys.executable, "-c", ask, str(tmp_path / "closed")]
    done = subprocess.run(words, capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout == "()\n"
