"""The image of the Dockerfile, built on an engine of the tests' own, from a base and wheels that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import machine
from tests.support.command_line import ROOT, Ended
from tests.support.engine import PrivateEngine
from tests.support.image_base import python_version, write_base, write_pip

#: What the tests call it.
NAME = "agentctl"
BASE, BUILD_BASE = "debian-base", "debian-build-base"
_ROOM_BYTES = 4 * 1024**3
LOCKS = tuple(sorted(ROOT.glob("requirements*.lock")))


@dataclass(frozen=True, slots=True)
class Image:
    """The image at an engine: ``image("costs")`` runs a command in a container and returns how it ended."""

    engine: PrivateEngine
    options: tuple[str, ...] = field(default=())

    def with_options(self, *options: str) -> Image:
        """Return the image as ``docker run`` starts it with further options."""
        return Image(self.engine, (*self.options, *options))

    def __call__(self, *words: str, stdin: str | None = None) -> Ended:
        argv = ["docker", "run", "--rm", *(() if stdin is None else ("-i",)), *self.options, NAME, *words]
        return self.docker(argv[1:], stdin=stdin)

    def docker(self, words: Sequence[str], *, stdin: str | None = None) -> Ended:
        """Run a command of docker."""
        closed = subprocess.DEVNULL if stdin is None else None
        done = subprocess.run(
            ["docker", *words], env=self.environ, stdin=closed, input=stdin, capture_output=True, text=True, timeout=300
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment of docker."""
        return {**os.environ, "DOCKER_HOST": self.engine.host, "DOCKER_BUILDKIT": "0"}


@contextmanager
def built(folder: Path) -> Iterator[Image]:
    """Build the image in ``folder``. Its containers with ``--network host`` reach this machine's loopback."""
    machine.need("engine", "image base")
    engine = PrivateEngine(_place() / f"agentctl-engine-{os.getpid()}-image", samples=False, network="host")
    engine.start()
    try:
        found = Image(engine)
        import_base(found, folder)
        build(found, context(folder / "context"), "--network", "none")
        yield found
    finally:
        engine.stop()


def _place() -> Path:
    """Return a folder in memory if there is room, which halves the time: an image has some 20,000 files."""
    memory = Path("/dev/shm")
    found = os.statvfs(memory) if memory.is_dir() else None
    return memory if found is not None and found.f_bavail * found.f_frsize > _ROOM_BYTES else Path("/tmp")


def import_base(image: Image, folder: Path) -> None:
    """Make the base, and another one that has pip, too."""
    write_base(folder / "base")
    with subprocess.Popen(["tar", "-C", str(folder / "base"), "-c", "."], stdout=subprocess.PIPE) as tar:
        done = subprocess.run(["docker", "import", "-", BASE], env=image.environ, stdin=tar.stdout, capture_output=True)
    assert done.returncode == 0, done.stderr
    write_pip(folder / "pip")
    (folder / "pip" / "Dockerfile").write_text(f"FROM {BASE}\nCOPY usr /usr\n")
    made = image.docker(["build", "-q", "-t", BUILD_BASE, str(folder / "pip")])
    assert made.code == 0, made.err
    shutil.rmtree(folder / "base")


def context(folder: Path) -> Path:
    """Return ``folder`` as a checkout: what the image is made of, and the wheels of the locks."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    folder.mkdir()
    for place in [ROOT / "Dockerfile", ROOT / ".dockerignore", *(found for name in kept for found in ROOT.glob(name))]:
        if place.is_dir():
            shutil.copytree(place, folder / place.name)
        else:
            shutil.copy(place, folder)
    own = Path(sys.prefix, "wheels")  # as tests/run has fetched them for this Python
    if own.is_dir() and python_version() == f"{sys.version_info.major}.{sys.version_info.minor}":
        shutil.copytree(own, folder / "wheels")
        return folder
    locks = [word for lock in LOCKS for word in ("-r", str(lock))]
    pip = [f"{sys.base_prefix}/bin/python3", "-m", "pip", "download", "-q", "-d", str(folder / "wheels")]
    given = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--python-version", python_version()]
    done = subprocess.run([*pip, *given, *locks], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def build(image: Image, folder: Path, *options: str) -> None:
    """Build the image."""
    bases = ["--build-arg", f"BASE={BASE}", "--build-arg", f"BUILD_BASE={BUILD_BASE}"]
    made = image.docker(["build", "-t", NAME, *bases, *options, str(folder)])
    assert made.code == 0, f"{made.out[-3000:]}{made.err[-1000:]}"
