"""A small Debian to build the image from, made in seconds of the packages that this machine has, without a network.

``write_base`` makes what ``debootstrap --variant=minbase`` makes, from the files of installed packages: the essential
ones, apt, those that are wanted, and what they depend on. As in Debian's slim images, there is no documentation.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

DPKG = Path("/var/lib/dpkg")
WANTED = ("apt", "bubblewrap", "ca-certificates", "python3")
PYTHON = Path("/usr/bin/python3")
_SLIM = re.compile(r"/usr/share/(doc|man|info|locale|lintian|bash-completion)/.")
_MERGED = ("bin", "lib", "lib64", "sbin")  # links into /usr

Stanza = dict[str, str]


def why_no_base() -> str | None:
    """Return why the base cannot be made here, if it cannot."""
    if not DPKG.exists():
        return "not a Debian"
    lacking = [name for name in WANTED if name not in _installed()]
    return f"not installed: {', '.join(lacking)}" if lacking else None


def python_version() -> str:
    """Return the version of the base's Python, as in ``3.11``."""
    return os.path.realpath(PYTHON).rpartition("python")[2]


def write_base(folder: Path) -> None:
    """Write the base's files below ``folder``, which may be missing. Needs root, as files have other owners."""
    names = sorted(_closure())
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("dev", "etc", "proc", "run", "sys", "tmp", "var/cache/apt/archives/partial", "var/log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    for name in _MERGED:
        (folder / "usr" / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(f"usr/{name}")
    _copy(_files(names), folder)
    info = folder / "var/lib/dpkg"
    (info / "info").mkdir(parents=True, exist_ok=True)
    (info / "status").write_text("".join(f"{_installed()[name]['']}\n\n" for name in names))
    for name in names:
        for place in _lists(name):
            shutil.copy(place, info / "info" / place.name)
    for name in ("passwd", "group"):
        shutil.copy(f"/usr/share/base-passwd/{name}.master", folder / "etc" / name)
    certificates = Path("etc/ssl/certs/ca-certificates.crt")
    (folder / certificates).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("/" / certificates, folder / certificates)
    for link in ("usr/bin/sh", "etc/alternatives/awk", "usr/bin/awk"):
        if not (folder / link).is_symlink() and Path("/", link).is_symlink():
            (folder / link).parent.mkdir(parents=True, exist_ok=True)
            (folder / link).symlink_to(Path("/", link).readlink())
    subprocess.run(["ldconfig", "-r", str(folder)], check=True)


def write_pip(folder: Path) -> None:
    """Write pip below ``folder``: this Python's own, as files."""
    here = Path(sys.base_prefix, "bin", "python3")
    said = subprocess.run(
        [here, "-c", "import pip; print(pip.__path__[0])"], check=True, capture_output=True, text=True
    )
    there = folder / f"usr/local/lib/python{python_version()}/dist-packages/pip"
    shutil.copytree(said.stdout.strip(), there, ignore=shutil.ignore_patterns("__pycache__"))


def _copy(places: Iterable[str], folder: Path) -> None:
    read = subprocess.Popen(
        ["tar", "-C", "/", "-c", "--no-recursion", "--null", "-T", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert read.stdin is not None
    with subprocess.Popen(["tar", "-C", str(folder), "-x", "-p"], stdin=read.stdout) as write:
        read.stdin.write(b"".join(place.encode().lstrip(b"/") + b"\0" for place in places))
        read.stdin.close()
        assert read.stdout is not None
        read.stdout.close()
    assert (read.wait(), write.returncode) == (0, 0)


def _files(names: Iterable[str]) -> Iterator[str]:
    """Yield the files and folders of packages, where they really are, and the compiled files beside Python's."""
    seen, tag = set(), f"cpython-{python_version().replace('.', '')}"
    for name in names:
        for place in _lists(name):
            if place.suffix != ".list":
                continue
            for line in place.read_text().splitlines():
                if line in ("", "/.") or _SLIM.match(line) or line.lstrip("/") in _MERGED:
                    continue
                above, _, last = line.rpartition("/")
                folder = os.path.realpath(above or "/").rstrip("/")
                real = f"{folder}/{last}"
                if real in seen or not os.path.lexists(real):
                    continue
                seen.add(real)
                yield real
                compiled = f"{folder}/__pycache__/{last[:-3]}.{tag}.pyc"
                if last.endswith(".py") and Path(compiled).exists():
                    yield compiled


def _lists(name: str) -> list[Path]:
    """Return what dpkg keeps of a package."""
    pattern = re.compile(rf"{re.escape(name)}(:\w+)?\.\w+")
    return [place for place in (DPKG / "info").glob(f"{name}[.:]*") if pattern.fullmatch(place.name)]


def _closure() -> set[str]:
    """Return the names of the packages of the base."""
    installed = _installed()
    provided: dict[str, list[str]] = {}
    for name, stanza in installed.items():
        for other in _names(stanza.get("Provides", "")):
            provided.setdefault(other[0], []).append(name)
    todo = [*WANTED, *(name for name, stanza in installed.items() if stanza.get("Essential") == "yes")]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        stanza = installed[name]
        for choice in _names(f"{stanza.get('Pre-Depends', '')},{stanza.get('Depends', '')}"):
            known = [one for one in choice if one in installed] or [p for one in choice for p in provided.get(one, ())]
            todo += known[:1]
    return found


def _names(dependencies: str) -> Iterator[list[str]]:
    """Yield the alternatives of each dependency, without versions and architectures."""
    for part in dependencies.split(","):
        names = [re.split(r"[ (:\[]", one.strip())[0] for one in part.split("|")]
        if names != [""]:
            yield names


@cache
def _installed() -> Mapping[str, Stanza]:
    """Return the fields of each installed package, by its name; ``""`` is its whole text."""
    found: dict[str, Stanza] = {}
    for text in (DPKG / "status").read_text().split("\n\n"):
        stanza: Stanza = {"": text.strip()}
        for line in text.splitlines():
            if not line.startswith(" "):
                field, _, value = line.partition(": ")
                stanza[field] = value
        if stanza.get("Status") == "install ok installed":
            found.setdefault(stanza["Package"], stanza)
    return found
