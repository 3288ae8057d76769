"""The flags of a run that decide about its reports, and whether it has any: loads nothing else where it has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import UsageError

if TYPE_CHECKING:
    from agentctl.cli.ci.reports import RunReports


class CiFlags(NamedTuple):
    """``--no-ci``, ``--junit`` and ``--dotenv``, with ``-q`` and ``-v``."""

    is_off: bool = False
    junit: str | None = None
    dotenv: str | None = None
    quiet: bool = False
    verbose: bool = False


def flags_in(argv: tuple[str, ...]) -> CiFlags:
    """Return the flags of a command line that is invalid otherwise; the last one of each wins."""
    found: dict[str, str | None] = {"--junit": None, "--dotenv": None}
    words = argv[: argv.index("--")] if "--" in argv else argv
    for word, following in zip(words, (*words[1:], None), strict=False):
        name, mark, value = word.partition("=")
        if name in found:
            found[name] = value if mark else following
    return CiFlags("--no-ci" in words, found["--junit"] or None, found["--dotenv"] or None)


def open_reports(flags: CiFlags) -> RunReports | None:
    """Return the reports of a run, None where there are none; mask the keys of the environment.

    With ``--no-ci`` there are only the files that were asked for.

    Raises:
        UsageError: the name of a file is empty.
    """
    for flag, name in (("--junit", flags.junit), ("--dotenv", flags.dotenv)):
        if name is not None and not name.strip():
            raise UsageError(f"{flag} is empty", hint=f"name a file: {flag} FILE")
    from agentctl.settings.ci_system import CiSystem, ci_system, keys_in_environment

    system = CiSystem() if flags.is_off else ci_system()
    if system.name is None and flags.junit is None and flags.dotenv is None:
        return None
    from agentctl.cli.ci.reports import RunReports

    reports = RunReports(system, flags)
    reports.mask(keys_in_environment())
    return reports


def open_early(argv: tuple[str, ...]) -> RunReports | None:
    """Return the reports of a run whose flags were not read, as one was wrong, or whose command had a bug."""
    return open_reports(flags_in(argv))
