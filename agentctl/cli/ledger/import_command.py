"""``agentctl ledger import``: bring the history of a ledger in a file into the one on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.options import Json, Output, wants_json

if TYPE_CHECKING:
    from pathlib import Path

    from agentctl.core.ledger_address import PostgresAddress
    from agentctl.ledger.postgres.file_import import FileImport

IMPORT_SCHEMA = "agentctl.ledger-import/1"


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The ledger to import, such as ledger.db.")],
    output: Output = None,
    json: Json = False,
) -> None:
    """Bring the history of a ledger in a file into the shared ledger on PostgreSQL.

    Runs, calls and amounts keep their ids, so a second import adds only what is new, and an interrupted one is
    completed. What counts in the hour counts there as long. Sent calls of ended processes are in doubt, at worst.
    The file is only read. Refused while one of its runs is in progress, and inside a run.

    Examples:
        agentctl ledger import ledger.db
        agentctl ledger import ledger.db --json
    """
    from pathlib import Path

    from agentctl.cli.error_output import report_settings
    from agentctl.cli.ledger.command import refuse_inside_a_run
    from agentctl.core.errors import UsageError
    from agentctl.core.ledger_address import PostgresAddress

    as_json = wants_json(output, json=json)
    refuse_inside_a_run()
    address = report_settings().settings.ledger_address
    if not isinstance(address, PostgresAddress):
        raise UsageError(
            "no shared ledger is set to import into",
            hint="name it in AGENTCTL_LEDGER, or in your own .env: agentctl config path",
        )
    from agentctl.ledger.postgres.file_import import import_file

    path = Path(file).expanduser()
    found = import_file(address, path)
    if as_json:
        print(import_document(found, path, address))
        return
    from agentctl.cli.ui.columns import stdout_page

    page = stdout_page()
    print("\n".join(map(page.prose, _lines(found, path, address))))


def import_document(found: FileImport, path: Path, address: PostgresAddress) -> str:
    """Return the JSON document of an import; amounts are those of the calls that it added or corrected."""
    from agentctl.cli.documents import as_json, usd
    from agentctl.core.version import __version__

    return as_json(
        {
            "schema": IMPORT_SCHEMA,
            "version": __version__,
            "file": str(path),
            "ledger": str(address),
            "runs": {"imported": found.runs, "known": found.known_runs},
            "attempts": {
                "imported": found.attempts,
                "corrected": found.updated,
                "known": found.known,
                "interrupted": found.interrupted,
                "not_sent": found.unsent,
                "unknown_price": found.unknown_calls,
            },
            "spent_usd": usd(found.spent_nano),
            "spent_nano_usd": found.spent_nano,
            "in_doubt_usd": usd(found.in_doubt_nano),
            "in_doubt_nano_usd": found.in_doubt_nano,
            "unsettled_files": found.unsettled,
            "moved_by_s": found.shift_us / 1_000_000,
            "error": None,
        }
    )


def _lines(found: FileImport, path: Path, address: PostgresAddress) -> Iterator[str]:
    from agentctl.cli.ui.format import money, plural

    if found.runs or found.attempts or found.updated:
        brought = f"{plural(found.runs, 'run')} and {plural(found.attempts, 'attempt')} imported into {address}"
        yield f"{brought}: {money(found.spent_nano)} spent, {money(found.in_doubt_nano)} in doubt"
    else:
        yield f"nothing to import: {address} has all of {path}"
    if found.updated:
        yield f"{plural(found.updated, 'attempt')} corrected by what {path} has learned since"
    if found.known_runs or found.known:
        yield f"{plural(found.known_runs, 'run')} and {plural(found.known, 'attempt')} were imported before"
    if found.unknown_calls:
        yield f"{plural(found.unknown_calls, 'attempt')} of unknown price"
    if found.interrupted:
        yield f"{plural(found.interrupted, 'attempt')} of ended processes in doubt, at the worst case"
    if found.unsent:
        yield f"{plural(found.unsent, 'hold')} of ended processes left out: they were not sent, and cost nothing"
    if found.unsettled:
        files = plural(found.unsettled, "conclusion")
        yield f"{files} beside {path} left out: list the costs of that ledger, then import it again"
    if found.shift_us:
        yield f"times moved by {found.shift_us / 1_000_000:+.1f} s, by which the server's clock differs"
