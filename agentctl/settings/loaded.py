"""What loading hands on: the settings, where each came from, and what there is to say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentctl.core.limits import Parent
from agentctl.core.text import Redactor
from agentctl.settings.model import Settings
from agentctl.settings.sources import Source
from agentctl.settings.trust import IgnoredLine, TrustPrompt


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, where each came from, and what there is to say about it.

    ``notes`` are whole sentences for stderr. ``secrets`` are to be redacted wherever text leaves. ``empty_keys``
    are key variables that are set but empty. ``tightened`` names the untrusted file that lowered a limit,
    ``ignored`` the lines of such files that did nothing, ``offers`` those files of which a person can be asked.
    ``ci`` is whether CI is set, ``job`` what a CI system says of its job (repo, ref, job), ``term`` is TERM.
    ``parent`` is the run that started this process, with "" for what is missing of it; ``capability`` is what a run
    hands to its own children, "" until ``for_a_run``. ``redactor`` takes secrets out of what a run sends, None until
    then.
    """

    settings: Settings
    sources: Mapping[str, Source]
    notes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    empty_keys: tuple[str, ...] = ()
    tightened: Mapping[str, Path] = field(default_factory=dict)
    ignored: tuple[IgnoredLine, ...] = ()
    offers: tuple[TrustPrompt, ...] = ()
    ci: bool = False
    job: Mapping[str, str] = field(default_factory=dict)
    term: str = ""
    config_file: Path = Path()
    names: Mapping[str, str] = field(default_factory=dict)
    parent: Parent | None = None
    capability: str = field(default="", repr=False)
    redactor: Redactor | None = field(default=None, repr=False, compare=False)

    def for_a_run(self) -> Loaded:
        """Return the same with a capability for the children of one run, a new secret of 256 bits, and a redactor."""
        capability = os.urandom(32).hex()
        secrets = (*self.secrets, capability)
        return replace(self, capability=capability, secrets=secrets, redactor=Redactor(secrets))

    def cause(self, *fields: str) -> str:
        """Return why ``fields`` may be missing: they stand in an untrusted file. Empty if they do not."""
        lines = [line for line in self.ignored if line.field in fields]
        if not lines:
            return ""
        same = [line for line in lines if line.place == lines[0].place]
        names = ", ".join(line.name for line in same)
        return f"{same[0].place} has {names}, but is not trusted: {same[0].remedy}"
