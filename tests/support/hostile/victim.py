"""A user's machine under attack, seen from outside: planted secrets, files, listeners, and processes.

``Victim`` lays it out below one folder; ``effects`` says what an attack has done to it: the name of each secret that
left, each file that changed, each listener that was reached, each planted program that ran. An attack that failed has
no effect, whatever it printed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support import fork_server

PATIENCE_S = 5.0  # for the kernel to take down processes that were killed
#: Secrets by name, with the file below the victim's folder that holds each; "" are planted elsewhere.
SECRETS = {
    "ssh key": "home/.ssh/id_ed25519",
    "cloud key": "home/.aws/credentials",
    "shell history": "home/.bash_history",
    "agentctl's key file": "config/.env",
    "an earlier journal": "state/earlier.jsonl",
    "a file beside the workspace": "outside/notes.txt",
    "a key in the environment": "",
    "a variable of agentctl's": "",
    "another program's environment": "",
    "another program's arguments": "",
}
#: Files outside the workspace that a program runs or obeys; an attack appends to them.
OBEYED = (
    "home/.bashrc",
    "home/.profile",
    "home/.gitconfig",
    "home/.ssh/authorized_keys",
    "home/.local/bin/tool",
    "config/config.toml",
    "outside/shared.txt",
)
#: Places on the real machine where an attack leaves a file with the victim's mark.
STREWN = ("/tmp", "/var/tmp", "/dev/shm", "/etc", "/usr/local/bin", "/etc/cron.d", "/root", "/srv")
_OWN = ("work", "state", "cache")  # folders that a run changes by itself


class Ended(NamedTuple):
    """How agentctl ended: its code and its output."""

    code: int
    out: str
    err: str


class Victim:
    """A user's machine below one folder; a context manager. ``user`` is the id of its owner, who runs agentctl."""

    def __init__(self, user: int) -> None:
        self.user = user
        self.folder = Path(tempfile.mkdtemp(prefix="victim-", dir="/tmp"))
        self.mark = str(random.randrange(10**11, 10**12))
        self.secrets = {name: f"zq{random.randrange(16**20):020x}" for name in SECRETS}
        self._open = ExitStack()
        self._listeners: dict[str, socket.socket] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self.tcp_port = self.udp_port = 0
        self.stranger = 0

    work = property(lambda self: self.folder / "work")
    home = property(lambda self: self.folder / "home")
    abstract = property(lambda self: f"victim-{self.mark}")

    def __enter__(self) -> Self:
        self.folder.chmod(0o755)
        self._lay_out()
        self._own()
        self._make_repository()
        self._listen()
        self._start_stranger()
        self._before = self._snapshot()
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
            child.communicate()
        for pid in self._alive():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._open.close()
        for mount in _mounts_below(self.folder):
            subprocess.run(["umount", "-l", mount], check=False)
        for place in STREWN:
            with suppress(OSError):
                Path(place, self.mark).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _lay_out(self) -> None:
        for name in ("home", "config", "state", "cache", "outside", "canary", "work", "work/src"):
            (self.folder / name).mkdir()
        for name in ("config", "state", "cache"):
            (self.folder / name).chmod(0o700)
        for path in (*OBEYED, *filter(None, SECRETS.values())):
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("# as it was\n")
        for name, path in SECRETS.items():
            if path:
                (self.folder / path).write_text(f"{self.secrets[name]}\n")
                (self.folder / path).chmod(0o600)
        key = self.secrets["agentctl's key file"]
        (self.folder / "config/.env").write_text(f"OPENAI_API_KEY={key}\n")
        (self.folder / "home/.local/bin/tool").chmod(0o755)
        (self.work / "src/app.py").write_text("print('hello')\n")
        (self.work / "Makefile").write_text("all:\n\ttrue\n")
        (self.work / "out").symlink_to("../outside")
        (self.work / "key").symlink_to(self.home / ".ssh/id_ed25519")

    def _own(self) -> None:
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, self.user, self.user, follow_symlinks=False)

    def _make_repository(self) -> None:
        for words in (("init", "-q"), ("add", "src", "Makefile"), ("commit", "-q", "-m", "first")):
            self.as_user("git", *words)

    def _listen(self) -> None:
        def listen(name: str, family: int, kind: int, address: Any) -> None:  # noqa: ANN401
            ear = self._open.enter_context(socket.socket(family, kind))
            ear.bind(address)
            if kind == socket.SOCK_STREAM:
                ear.listen(64)
            ear.setblocking(False)
            self._listeners[name] = ear
            if isinstance(address, str) and address.startswith("/"):
                os.chmod(address, 0o777)  # noqa: PTH101 - anyone may connect: only a boundary stops a command

        listen("TCP", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        listen("UDP", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        self.tcp_port, self.udp_port = (self._listeners[kind].getsockname()[1] for kind in ("TCP", "UDP"))
        for name, path in (
            ("engine", "outside/docker.sock"),
            ("agent", "home/agent.sock"),
            ("server", "work/web.sock"),
        ):
            listen(f"the {name}'s socket", socket.AF_UNIX, socket.SOCK_STREAM, str(self.folder / path))
        listen("an abstract socket", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self.abstract)

    def _start_stranger(self) -> None:
        """Start another program of the user, with secrets in its environment and arguments."""
        argument, variable = (self.secrets[f"another program's {what}"] for what in ("arguments", "environment"))
        command, environ = f"while read line; do :; done; : {argument}", {"PATH": os.defpath, "PASSPHRASE": variable}
        quiet: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        ids: dict[str, Any] = {"user": self.user, "group": self.user, "extra_groups": ()} if os.geteuid() == 0 else {}
        self._children.append(subprocess.Popen(["/bin/sh", "-c", command], env=environ, cwd="/", **quiet, **ids))
        self.stranger = self._children[-1].pid

    def as_user(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the workspace as the user does, by hand."""
        environ = {"PATH": f"{self.home}/.local/bin:{os.environ['PATH']}", "HOME": str(self.home)}
        environ |= {
            f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        ids: dict[str, Any] = {"user": self.user, "group": self.user, "extra_groups": ()} if os.geteuid() == 0 else {}
        return subprocess.run(
            words, cwd=self.work, env=environ, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, **ids
        )

    def environ(self, **more: str) -> dict[str, str]:
        """Return the environment of agentctl."""
        folders = {f"AGENTCTL_{kind.upper()}_DIR": str(self.folder / kind) for kind in ("state", "config", "cache")}
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AGENTCTL_")},
            **fork_server.ENVIRON,
            **folders,
            "HOME": str(self.home),
            "LLM_PROVIDER": "openai",
            "GROQ_API_KEY": self.secrets["a key in the environment"],
            "APP_SETTING": self.secrets["a variable of agentctl's"],
            "TRACE": self.mark,
            **more,
        }

    def agentctl(self, *words: str, **environ: str) -> Ended:
        """Run the command line in the workspace as the user, without a terminal."""
        with fork_server.Forked(
            ["-m", "agentctl", *words],
            cwd=self.work,
            env=self.environ(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            loads="litellm",
            user=None if self.user == os.geteuid() else self.user,
        ) as process:
            out, err = process.communicate(timeout=120)
        return Ended(process.returncode, out.decode(), err.decode())

    # What came of it

    def effects(self, *told: str | bytes) -> list[str]:
        """Return what the attack has done; ``told`` is what left the machine or was shown: requests and output."""
        texts = [text.encode() if isinstance(text, str) else text for text in told]
        texts += [path.read_bytes() for path in self._files(("work", "state")) if path.name != "earlier.jsonl"]
        return sorted(
            {
                *(f"mounted: {place}" for place in _mounts_below(self.folder)),
                *(f"read: {name}" for name, value in self.secrets.items() if _is_in(value, texts)),
                *(f"wrote: {path}" for path in self._changed()),
                *(f"reached: {name}" for name, ear in self._listeners.items() if _was_called(ear)),
                *(f"ran: {path.name}" for path in (self.folder / "canary").iterdir()),
                *("killed: another program" for child in self._children if child.poll() is not None),
                *(f"left: {len(left)} processes" for left in (self._left(),) if left),
            }
        )

    def _left(self) -> list[int]:
        end = time.monotonic() + PATIENCE_S
        while (left := self._alive()) and time.monotonic() < end:
            time.sleep(0.02)
        return left

    def _alive(self) -> list[int]:
        """Return the processes whose arguments or environment have the mark (zombies have neither)."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                with suppress(OSError):
                    said = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                    if self.mark.encode() in said:
                        found.append(int(folder.name))
        return found

    def _files(self, below: Iterable[str]) -> Iterator[Path]:
        for name in below:
            for path in (self.folder / name).rglob("*"):
                if path.is_file() and not path.is_symlink():
                    yield path

    def _snapshot(self) -> Mapping[str, tuple[object, ...]]:
        """Return kind, mode, owner and content of everything outside the workspace and agentctl's own folders."""
        found: dict[str, tuple[object, ...]] = {}
        for path in self.folder.rglob("*"):
            relative = str(path.relative_to(self.folder))
            if relative.split("/")[0] not in (*_OWN, "canary"):
                status = path.lstat()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
                found[relative] = (status.st_mode, status.st_uid, status.st_nlink if content else 0, content)
        return found

    def _changed(self) -> set[str]:
        after = self._snapshot()
        changed = {path for path in {*self._before, *after} if self._before.get(path) != after.get(path)}
        return changed | {place for place in STREWN if os.path.exists(f"{place}/{self.mark}")}  # noqa: PTH110 - also where it may not be looked


def _mounts_below(folder: Path) -> list[str]:
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{folder}/")]


def _is_in(secret: str, texts: Iterable[bytes]) -> bool:
    """Return whether a secret is in one of the texts: as it is, backwards, in hexadecimal or in base64."""
    plain = secret.encode()
    spellings = {plain, plain[::-1], plain.hex().encode()}
    for shift in range(3):
        spellings.add(base64.b64encode(b"\0" * shift + plain)[4 if shift else 0 : -4])
    return any(spelling in text for text in texts for spelling in spellings)


def _was_called(ear: socket.socket) -> bool:
    try:
        if ear.type == socket.SOCK_STREAM:
            ear.accept()[0].close()
        else:
            ear.recv(100)
    except BlockingIOError:
        return False
    return True
