"""Parse and check what the user adds to the reach of sandboxed commands: paths to read or write, variables to pass on.

``readable_paths``, ``writable_paths`` and ``variable_names`` check values by themselves; a ValueError's text says what
is allowed. ``wrong_beside`` checks them against the other settings: agentctl's own folders, and the variables of
the user's own providers.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agentctl.core.system_folders import HIDDEN_FOLDERS, KERNEL_FOLDERS, SYSTEM_FOLDERS, is_beneath
from agentctl.settings.provider_names import OTHER_PROVIDERS, SECRET_ENDINGS, other_key_names

if TYPE_CHECKING:
    from agentctl.settings.model import Settings

_PATHS_ALLOWED = "absolute paths, or paths that begin with ~/"
_NAMES_ALLOWED = "names of environment variables"

#: Set by agentctl for every command, so that no program asks a question, leaves its place or finds the user's own.
FIXED_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "TMP", "TEMP", "SHELL", "LANG", "TERM", "NO_COLOR", "CI", "PAGER", "GIT_PAGER"),
        *("GIT_TERMINAL_PROMPT", "GIT_ASKPASS", "GIT_SSH_COMMAND", "SSH_ASKPASS_REQUIRE", "DEBIAN_FRONTEND"),
        *("TRACEPARENT", "TRACESTATE", "PIP_NO_INPUT", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0"),
    }
)
# They load code into the program that makes the sandbox, run a file before its limits are set, or lead to a daemon
# that acts for the user outside.
_UNSAFE_VARIABLE = re.compile(
    r"LD_\w+|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|BASH_ENV|ENV|SHELLOPTS|BASHOPTS|IFS|PS4|GIT_(?!AUTHOR_|COMMITTER_)\w+"
    r"|DOCKER_\w+|CONTAINER_HOST|KUBECONFIG|SSH_AUTH_SOCK|SSH_AGENT_PID|GPG_AGENT_INFO|DBUS_\w+|XDG_RUNTIME_DIR"
    r"|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY"
)
_OTHER_KEYS = frozenset(name for provider in OTHER_PROVIDERS for name in other_key_names(provider))


def readable_paths(value: object) -> tuple[str, ...]:
    """Return the paths that commands may read besides, absolute, each once."""
    found = _paths(value)
    for path in found:
        _refuse_place(path, HIDDEN_FOLDERS)
    return found


def writable_paths(value: object) -> tuple[str, ...]:
    """Return the paths that commands may change besides, absolute, each once."""
    found = _paths(value)
    for path in found:
        _refuse_place(path, (*HIDDEN_FOLDERS, *SYSTEM_FOLDERS))
        for place in _forms(path):
            if (folder := _containing(place, SYSTEM_FOLDERS)) is not None:
                raise ValueError(f"{_PATHS_ALLOWED}; {path} is in {folder}, a folder of the system")
    return found


def variable_names(value: object) -> tuple[str, ...]:
    """Return the names of the variables that commands get, each once."""
    found = _items(value, _NAMES_ALLOWED)
    for name in found:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", name):
            raise ValueError(_NAMES_ALLOWED)
        if name.startswith("OTEL_"):
            raise ValueError(f"{_NAMES_ALLOWED}; {name} is for agentctl alone; no OTEL_ variable is passed on")
        if name in FIXED_VARIABLES or name.startswith("AGENTCTL_"):
            raise ValueError(f"{_NAMES_ALLOWED}; {name} is set by agentctl itself")
        if _UNSAFE_VARIABLE.fullmatch(name):
            raise ValueError(f"{_NAMES_ALLOWED}; {name} could lead a command out of its sandbox")
        if name.upper().endswith(SECRET_ENDINGS) or name in _OTHER_KEYS:
            raise ValueError(f"{_NAMES_ALLOWED}; {name} holds a key, and no key is passed to commands")
    return found


def wrong_beside(settings: Settings, *, workspace: Path) -> Mapping[str, str]:
    """Return what is allowed for each setting that is wrong only beside the others, by its field."""
    found: dict[str, str | None] = {}
    for field in ("sandbox_read", "sandbox_write"):
        paths = getattr(settings, field)
        missing = next((path for path in paths if not os.path.exists(path)), None)  # noqa: PTH110
        found[field] = _own_folder_in(paths, settings)
        if missing is not None and found[field] is None:
            found[field] = f"{_PATHS_ALLOWED}, of what exists; {missing} does not"
    found["sandbox_write"] = found["sandbox_write"] or _why_never_written(settings.sandbox_write, workspace)
    own_keys = {one.key_name for one in settings.providers.values() if one.key_name}
    named = next((name for name in settings.sandbox_env if name in own_keys), None)
    if named is not None:
        found["sandbox_env"] = f"{_NAMES_ALLOWED}; {named} holds a key, and no key is passed to commands"
    return {field: said for field, said in found.items() if said is not None}


def check_writable(path: str, settings: Settings, workspace: Path) -> None:
    """Check that a program may be let to change ``path``, an absolute one outside of the workspace.

    Raises:
        ValueError: it may not, as a path of ``sandbox_write`` may not; the text says what is allowed.
    """
    paths = writable_paths((path,))
    said = _own_folder_in(paths, settings) or _why_never_written(paths, workspace)
    if said is not None:
        raise ValueError(said)


def _own_folder_in(paths: Sequence[str], settings: Settings) -> str | None:
    """Return why one of the paths would open agentctl's own folders; a command could read keys and ledger there."""
    for path in paths:
        for own in map(str, (settings.config_dir, settings.state_dir, settings.cache_dir)):
            for place, folder in ((one, other) for one in _forms(path) for other in _forms(own)):
                if is_beneath(place, folder):
                    return f"{_PATHS_ALLOWED}; {path} belongs to agentctl"
                if is_beneath(folder, place):
                    return f"{_PATHS_ALLOWED}; {path} contains {own}, which belongs to agentctl: name folders in it"
    return None


def _why_never_written(paths: Sequence[str], workspace: Path) -> str | None:
    """Return why one of the paths may not be written: it holds the workspace, or the program of agentctl."""
    program = (sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    for path in paths:
        for place in _forms(path):
            if any(folder != place and is_beneath(folder, place) for folder in _forms(os.path.abspath(workspace))):  # noqa: PTH100
                return f"{_PATHS_ALLOWED}; {path} contains the workspace {workspace}"
            own = next((one for one in map(os.path.realpath, program) if is_beneath(one, place)), None)
            if own is not None:
                return f"{_PATHS_ALLOWED}; {path} contains {own}, where agentctl is installed"
    return None


def _paths(value: object) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for item in _items(value, _PATHS_ALLOWED):
        path = os.path.expanduser(item)  # noqa: PTH111 - Path raises for an unknown user
        if not path.startswith("/") or "\0" in path or len(path) > 4000:
            raise ValueError(_PATHS_ALLOWED)
        found[os.path.normpath("/" + path.lstrip("/"))] = None
    return tuple(found)


def _items(value: object, allowed: str) -> tuple[str, ...]:
    """Return the items of a list, or of a text with commas, each once."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{allowed}, separated by commas (TOML: a list)")
    return tuple(dict.fromkeys(item.strip() for item in items if item.strip()))


def _refuse_place(path: str, places: Sequence[str]) -> None:
    """Refuse a path that is one of the places or the user's home, or contains one."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    homes = _forms(home) if home.startswith("/") and home.strip("/") else ()
    for place in _forms(path):
        if place in homes:
            raise ValueError(f"{_PATHS_ALLOWED}; {path} is your home folder: name folders in it")
        if (folder := _containing(place, KERNEL_FOLDERS)) is not None:
            raise ValueError(f"{_PATHS_ALLOWED}; {path} is in {folder}, a file system of the kernel")
        for inner in (*homes, *places):
            if place == inner:
                raise ValueError(f"{_PATHS_ALLOWED}; {path} is a folder of the system: name folders in it")
            if is_beneath(inner, place):
                raise ValueError(f"{_PATHS_ALLOWED}; {path} contains {inner}: name folders in it")


def _forms(path: str) -> tuple[str, ...]:
    """Return a path as it is written, and without links."""
    return tuple(dict.fromkeys((path, os.path.realpath(path))))


def _containing(place: str, folders: Iterable[str]) -> str | None:
    return next((folder for folder in folders if is_beneath(place, folder)), None)
