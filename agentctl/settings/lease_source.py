"""Read the text of the lease that a setting names, and the variables of the job that a lease is bound to."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from agentctl.core.bounded_read import read_to_end
from agentctl.core.leases import LeaseError
from agentctl.core.text import safe_text
from agentctl.settings.own_files import privacy_problem

MOST_BYTES = 4_096
_PATIENCE_S = 10.0  # for a named pipe


def job_variables() -> Mapping[str, str]:
    """Return the variables of this process, which say what run, attempt and job of a CI system it is."""
    return dict(os.environ)


def read_secret_line(given: str, what: str, begins: str, *, private: bool = False) -> str:
    """Return the one line that ``given`` stands for: the text itself, a file that holds it, or ``env:NAME``.

    ``begins`` is how such a line begins, ``what`` names it in an error. ``private``: a file has to
    be for its owner alone.

    Raises:
        LeaseError: the variable is not set, the file cannot be read, or it is not private; the message never has the
            line itself.
    """
    if given.startswith(begins):
        return given
    if given.startswith("env:"):
        name = given.removeprefix("env:")
        if not (found := os.environ.get(name, "").strip()):
            raise LeaseError(f"{what}: the variable {safe_text(name)} is not set", hint="set it, or name a file")
        return found
    named = safe_text(given[:200])
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a named pipe may have no writer yet
    try:
        with os.fdopen(os.open(Path(given).expanduser(), flags), "rb") as file:
            if private and (problem := privacy_problem(os.fstat(file.fileno()), f"{what} {named}", Path(given))):
                raise LeaseError(problem.text, hint=problem.hint)
            data = read_to_end(file.fileno(), most=MOST_BYTES, until=time.monotonic() + _PATIENCE_S)
    except (OSError, ValueError, RuntimeError) as error:
        said = getattr(error, "strerror", None) or str(error) or f"nothing came within {_PATIENCE_S:g} s"
        raise LeaseError(
            f"{what} {named} cannot be read: {said.lower()}",
            hint=f"give a file, env:NAME, or the line itself, which begins with {begins}",
        ) from error
    return data.decode("ascii", "replace").strip()
