"""Match the user's hooks with tool calls, and refuse hooks that a run must not start with.

A hook matches as a deny rule does: by every name of the call's target, and by each part of a shell command. Loaded only
where there is a hook.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.system_folders import is_beneath
from agentctl.core.targets import PATH_TOOLS, Subject, fits
from agentctl.core.text import safe_text
from agentctl.core.tool_rules import Rule
from agentctl.permissions.decision import parse_known_rules
from agentctl.sandbox.select import is_project_folder
from agentctl.settings import Loaded


class HookRule(NamedTuple):
    """A hook with its rule, None for every run."""

    on: str
    command: tuple[str, ...]
    timeout_s: float
    rule: Rule | None = None

    def matches(self, name: str, given: Mapping[str, object], subject: Subject) -> bool:
        """Return whether the hook is about the call ``name(given)`` with the resolved ``subject``."""
        return self.rule is None or fits(self.rule, name, given, subject)

    def needs_names(self, name: str) -> bool:
        """Return whether the hook is about arguments of ``name``, so that all names of its target are needed."""
        return self.rule is not None and bool(self.rule.arguments) and (self.rule.covers(name) or name in PATH_TOOLS)


def hook_rules_of(loaded: Loaded) -> tuple[HookRule, ...]:
    """Return the hooks of a run by the settings, in their order.

    Raises:
        UsageError: one names a tool or an argument that does not exist, or a file that a model could change.
    """
    workspace = loaded.settings.workdir or Path.cwd()
    source, found = loaded.sources["hook"], []
    for number, hook in enumerate(loaded.settings.hook, 1):
        where = f"hook {number} ({source})"
        rules = parse_known_rules((hook.match,) if hook.match else (), f"{where}: match")
        changeable = next(_changeable_files(hook.command, loaded, workspace), None)
        if changeable is not None:
            said = f"{where}: {changeable} is in a folder that commands of a model can change"
            hint = f"move it, such as to {shlex.quote(str(loaded.settings.config_dir))}, and name that place"
            raise UsageError(safe_text(said), hint=safe_text(hint))
        found.append(HookRule(hook.on, hook.command, hook.timeout_s, rules[0] if rules else None))
    return tuple(found)


def _changeable_files(command: tuple[str, ...], loaded: Loaded, workspace: Path) -> Iterator[str]:
    """Yield the files of a command that lie in the workspace or in ``sandbox_write``.

    agentctl's own folders are out of reach for tools, wherever they lie. A workspace that is a home or the whole
    machine is no project: a person is asked before each write there.
    """
    folders = [*loaded.settings.sandbox_write, *([str(workspace)] if is_project_folder(workspace) else [])]
    reach = {form for folder in folders for form in _forms(folder)}
    private = {form for folder in (loaded.settings.config_dir,) for form in _forms(str(folder))}
    for word in command:
        path = word if word.startswith("/") else word.partition("=")[2]
        for place in _forms(path) if path.startswith("/") else ():
            if any(is_beneath(place, folder) for folder in reach) and not any(
                is_beneath(place, folder) for folder in private
            ):
                yield path


def _forms(path: str) -> tuple[str, ...]:
    """Return a path as it is written, and without links."""
    return (os.path.abspath(path), os.path.realpath(path))  # noqa: PTH100 - a link must stay one
