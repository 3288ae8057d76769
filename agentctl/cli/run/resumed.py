"""Find the run that a command line resumes, lock it, and merge its flags with those given now."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.cli.ui.terminal import is_person_here
from agentctl.core.errors import UsageError
from agentctl.journal.lock import lock_journal
from agentctl.journal.reader import find_journal, last_journal_in
from agentctl.journal.replay import PastRun, read_past
from agentctl.runner.resumption import Resumption

if TYPE_CHECKING:
    from agentctl.settings import Loaded

_ADDED = ("allow", "deny")  # lists that grow; any other flag given now replaces an earlier one


class ResumeRequest(NamedTuple):
    """Which run goes on, and how: ``run_id`` None is the last one, ``here`` the last one of this working directory."""

    run_id: str | None = None
    here: bool = False
    is_fork: bool = False
    accepts: bool = False


class OpenedRun:
    """A run that goes on: its past, and its locked journal (None for a fork), until that is handed on."""

    def __init__(self, request: ResumeRequest, words: str, given: Mapping[str, object]) -> None:
        from agentctl.cli.error_output import report_settings

        folder = report_settings().settings.runs_dir
        path = last_journal_in(folder, _workdir(given)) if request.here else find_journal(folder, request.run_id)
        self._file: int | None = lock_journal(path)
        try:
            self.past = read_past(path)
            self.flags = _merged(self.past, given)
            if request.is_fork:
                self.release()
        except BaseException:
            self.release()
            raise
        self._request, self._words, self._given = request, words, given

    def resumption(self, loaded: Loaded) -> Resumption:
        """Return how the run goes on.

        Raises:
            UsageError: there is nothing to go on with.
        """
        allowed = self._given.get("allow")
        resumption = Resumption(
            self.past.without_closing() if "max_turns" in self._given else self.past,
            words=self._words,
            is_fork=self._request.is_fork,
            accepts=self._request.accepts or is_person_here(sys.stdin, sys.stderr),
            allowed=tuple(map(str, allowed)) if isinstance(allowed, (list, tuple)) else (),
            given=frozenset(self._given),
        )
        resumption.refuse_pointless(loaded.settings.max_turns)
        return resumption

    def hand_on(self) -> int | None:
        """Return the locked journal, which belongs to the caller from now on; None for a fork."""
        file, self._file = self._file, None
        return file

    def release(self) -> None:
        """Unlock the journal, unless it was handed on."""
        if (file := self.hand_on()) is not None:
            with suppress(OSError):
                os.close(file)


def _merged(past: PastRun, given: Mapping[str, object]) -> dict[str, object]:
    """Return the flags of the run: those of its last part, its workdir and model, and those given now."""
    flags = {**past.flags, **given}
    for name in _ADDED:
        before, now = past.flags.get(name), given.get(name)
        if isinstance(before, list) and isinstance(now, (list, tuple)):
            flags[name] = [*before, *now]
    flags.setdefault("workdir", past.text("workdir"))
    if not flags.get("workdir"):
        del flags["workdir"]
    if "llm_provider" not in given and "llm_model" not in given:
        flags["llm_provider"], flags["llm_model"] = past.text("provider"), past.text("model")
    return flags


def _workdir(given: Mapping[str, object]) -> Path:
    named = given.get("workdir")
    return Path(str(named)) if named else Path.cwd()


def words_of(words: tuple[str, ...]) -> str:
    """Return the words for a run that goes on.

    Raises:
        UsageError: they are empty.
    """
    text = " ".join(words).strip()
    if words and not text:
        raise UsageError("the words for the run are empty", hint="leave them out, or say what is to be done")
    return text
