"""Learned token counts: how a provider's reports differ from our own counts, stored in one small cache file."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio.to_thread

from agentctl.context.counter import Calibration
from agentctl.core.files import make_folder, write_atomically

FILE = "counts.json"
_SCHEMA = "agentctl.counts/1"
_MOST_BYTES = 1 << 20
_MOST_MODELS = 200
_LEAST_FACTOR, _MOST_FACTOR, _MOST_FIXED = 0.25, 10.0, 10_000.0


class LearnedCounts:
    """Stores a calibration per provider, model and way of counting, in a private file of the user's cache folder.

    A file that cannot be read counts as empty and is replaced; counts that cannot be written are learned again. If two
    runs end at the same time, the counts of one of them may be lost.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def known(self, provider: str, model: str | None) -> Mapping[str, Calibration]:
        """Return the stored calibrations of a model, by way of counting."""
        return self._read().get(f"{provider}/{model}", {})

    async def remember(self, provider: str, model: str | None, news: Mapping[str, Calibration]) -> None:
        """Store the new calibrations, if there are any."""
        if news:
            await anyio.to_thread.run_sync(self._write, f"{provider}/{model}", news)

    def _write(self, name: str, news: Mapping[str, Calibration]) -> None:
        models = self._read()
        models[name] = {**models.pop(name, {}), **news}
        latest = dict(list(models.items())[-_MOST_MODELS:])
        rows = {
            model: {way: [round(line.factor, 4), round(line.fixed, 1)] for way, line in lines.items()}
            for model, lines in latest.items()
        }
        with suppress(OSError, ValueError):
            make_folder(self.path.parent)
            text = json.dumps({"schema": _SCHEMA, "models": rows}, indent=1) + "\n"
            write_atomically(self.path, text, for_folder=True)

    def _read(self) -> dict[str, dict[str, Calibration]]:
        try:
            document = json.loads(_content(self.path))
            if document["schema"] != _SCHEMA:
                return {}
            return {
                model: {way: line for way, row in rows.items() if (line := _line(row)) is not None}
                for model, rows in document["models"].items()
            }
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return {}


def _line(row: object) -> Calibration | None:
    """Return a row as a calibration, None if it is not plausible."""
    match row:
        case [int() | float() as factor, int() | float() as fixed] if (
            _LEAST_FACTOR <= factor <= _MOST_FACTOR and abs(fixed) <= _MOST_FIXED
        ):
            return Calibration(float(factor), float(fixed))
        case _:
            return None


def _content(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: the file is missing or not a regular file.
        ValueError: the file is too long to be ours.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as handle:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError("not a regular file")
        content = handle.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError("too long")
    return content
