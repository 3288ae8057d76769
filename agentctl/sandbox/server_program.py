"""Find the program of a server, and what of its installation a sandbox must show for it to run.

A sandbox hides the homes, where many servers are installed, and has a fixed PATH. The user has named the program, so
its file is shown, read-only, and with it the installation that it belongs to: a virtual environment with its Python, a
Python, or a Node.js. Nothing is shown for a program that commands could change, nor anything of agentctl's own folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import ToolError
from agentctl.core.system_folders import HIDDEN_FOLDERS, SYSTEM_FOLDERS, is_beneath
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.settings.sandbox_access import readable_paths

_MOST_LINKS = 20
_NO_INSTALLATION = ".local"  # a home's own: beside programs it holds the data and the state of many others
_BESIDE = {"uvx": "uv", "npx": "node"}  # programs that start another one of their folder


class ServerProgram(NamedTuple):
    """How to start a server: ``argv``, a ``folder`` to find other programs in first ("": none), the paths to show, and
    notes.
    """

    argv: list[str]
    folder: str = ""
    shown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def refuse_changeable(self, roots: Sequence[str]) -> None:
        """Refuse to start it, outside of a sandbox, from a file that commands of a model can change.

        Raises:
            ToolError: it is such a file, or one of its arguments names one.
        """
        reals = [os.path.realpath(root) for root in roots]
        for word in self.argv:
            for named in {word, word.partition("=")[2]} - {""}:
                place = os.path.join(roots[0], named)  # noqa: PTH118
                for form in (os.path.abspath(place), os.path.realpath(place)):  # noqa: PTH100 - a link must stay one
                    if os.path.isfile(form) and any(is_beneath(form, root) for root in (*roots, *reals)):  # noqa: PTH113
                        raise ToolError(
                            f"without a sandbox no server is started from {named}: a model's commands can change it",
                            hint="move it out of the workspace, or let the server run in the sandbox",
                        )

    def shown_in(self, config: SandboxConfig, write: Sequence[Path] = ()) -> ServerProgram:
        """Return how to start it in a sandbox whose commands have ``config``; ``write`` is shown anyway."""
        place, *words = self.argv
        visible = [config.workspace, *config.readable, *config.writable, *map(os.path.realpath, write)]
        real = os.path.realpath(place)
        of_the_system = any(is_beneath(real, folder) for folder in SYSTEM_FOLDERS)
        if not place.startswith("/") or of_the_system or _is_changeable(real, config):
            return self._replace(notes=_hidden_arguments(words, config, visible))
        start, installation = _installation(place)
        folder = self.folder and os.path.dirname(start)  # noqa: PTH120
        if _local_modules(start) in installation and (node := _node_of_user(config.workspace)) is not None:
            folder = os.path.dirname(node[0])  # noqa: PTH120
            installation += (node[0], *node[1])
        shown = tuple(found for found in (start, *installation) if _may_be_shown(found, config))
        return ServerProgram([start, *words], folder, shown, _hidden_arguments(words, config, [*visible, *shown]))


def find_program(argv: Sequence[str], environment: Mapping[str, str], workspace: str) -> ServerProgram:
    """Return how to start a program by its file.

    It is looked for on the PATH of its own ``environment``, then on the user's; not in relative folders, nor in the
    workspace unless it is named by its path. A program that is not found is left as it is named.
    """
    name, *words = argv
    if "/" in name:
        return ServerProgram([os.path.normpath(os.path.join(workspace, name)), *words])  # noqa: PTH118
    for folder in (*environment.get("PATH", "").split(":"), *os.get_exec_path()):
        place = f"{folder}/{name}"
        is_safe = folder.startswith("/") and not is_beneath(os.path.realpath(place), workspace)
        if is_safe and os.path.isfile(place) and os.access(place, os.X_OK):  # noqa: PTH113
            return ServerProgram([place, *words], folder)
    return ServerProgram([name, *words])


def _installation(place: str) -> tuple[str, list[str]]:
    """Return the path to start a program by, without links before it, and what belongs to it."""
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(place)
        folder = os.path.realpath(folder)
        place = f"{folder}/{name}"
        prefix = os.path.dirname(folder)  # noqa: PTH120
        modules = f"{prefix}/lib/node_modules"
        if is_beneath(os.path.realpath(place), modules) or (name == "node" and os.path.isdir(modules)):  # noqa: PTH112
            return place, [folder, modules]
        if (local := _local_modules(place)) is not None:
            return place, [local]
        if os.path.isfile(f"{prefix}/pyvenv.cfg") and os.path.basename(prefix) != _NO_INSTALLATION:  # noqa: PTH113, PTH119
            return place, [prefix, *_python_of(prefix)]
        if _is_python(prefix):
            return place, [prefix]
        if not os.path.islink(place):  # noqa: PTH114
            break
        place = os.path.normpath(os.path.join(folder, os.readlink(place)))  # noqa: PTH115, PTH118
    beside = _BESIDE.get(os.path.basename(place))  # noqa: PTH119
    return place, [] if beside is None else [os.path.realpath(f"{os.path.dirname(place)}/{beside}")]  # noqa: PTH120


def _local_modules(place: str) -> str | None:
    """Return the outermost folder ``node_modules`` in which a program and its file lie, None if there is none."""
    before, found, _ = os.path.realpath(place).partition("/node_modules/")
    modules = f"{before}/node_modules"
    return modules if found and is_beneath(place, modules) else None


def _node_of_user(workspace: str) -> tuple[str, list[str]] | None:
    """Return the Node.js on the user's PATH, with its installation; None if that is the system's, or there is none."""
    found = find_program(["node"], {}, workspace).argv[0]
    if "/" not in found or any(is_beneath(os.path.realpath(found), folder) for folder in SYSTEM_FOLDERS):
        return None
    return _installation(found)


def _python_of(environment: str) -> Iterator[str]:
    """Yield what is to be shown of the Python that a virtual environment is made of."""
    try:
        lines = Path(environment, "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    pairs = (line.partition("=") for line in lines)
    home = next((value.strip() for key, _, value in pairs if key.strip() == "home"), "")
    prefix = os.path.dirname(os.path.normpath(home)) if home.startswith("/") else ""  # noqa: PTH120
    if not prefix or not _is_python(prefix):
        return
    yield (real := os.path.realpath(prefix))
    if real != prefix:  # the environment names it by links, which are hidden with the folder that they are in
        yield from (f"{prefix}/{part}" for part in ("bin", "lib"))


def _is_python(prefix: str) -> bool:
    """Return whether a folder is an installation of Python."""
    if os.path.basename(os.path.realpath(prefix)) == _NO_INSTALLATION:  # noqa: PTH119
        return False
    return os.path.exists(f"{prefix}/bin/python3") and any(Path(prefix, "lib").glob("python3.*/os.py"))  # noqa: PTH110


def _may_be_shown(place: str, config: SandboxConfig) -> bool:
    """Return whether a path may be shown: not a home or a folder around one, nor anything of agentctl's own."""
    real = os.path.realpath(place)
    if not os.path.exists(real) or _is_changeable(real, config):  # noqa: PTH110
        return False
    own = (*config.homes, *config.hidden)
    if any(is_beneath(one, real) for one in own) or any(is_beneath(real, one) for one in config.hidden):
        return False
    try:
        readable_paths([real])
    except ValueError:
        return False
    return True


def _is_changeable(real: str, config: SandboxConfig) -> bool:
    return any(is_beneath(real, root) for root in (config.workspace, *config.writable))


def _hidden_arguments(words: Sequence[str], config: SandboxConfig, visible: Sequence[str]) -> tuple[str, ...]:
    """Return a note for each argument that names an existing path which the sandbox hides."""
    hidden = tuple(map(os.path.realpath, (*HIDDEN_FOLDERS, *config.homes)))
    return tuple(
        f"{place} is hidden from it: name it in read of [sandbox]"
        for place in words
        if place.startswith("/")
        and os.path.exists(real := os.path.realpath(place))  # noqa: PTH110
        and any(is_beneath(real, folder) for folder in hidden)
        and not any(is_beneath(real, folder) for folder in visible)
    )
