"""``agentctl ledger check`` and ``reconcile``: verify the ledger, settle amounts in doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from agentctl.cli.ledger.import_command import import_
from agentctl.cli.ledger.reprice import reprice
from agentctl.cli.options import Json, Output, wants_json

if TYPE_CHECKING:
    from collections.abc import Collection
    from decimal import Decimal

    from agentctl.cli.ledger.ledger_output import Clearable
    from agentctl.core.ledger_address import LedgerAddress
    from agentctl.ledger.reconcile import By, Reconciliation

WHAT = "Selection"
_MOST_BYTES = 64 * 1024 * 1024


def check(output: Output = None, json: Json = False) -> None:
    """Verify the ledger: file, rows, admissions and charges.

    Replays each admission against its limits, and recomputes each charge from the token classes and prices in its row.
    Lists amounts held and in doubt, with the command that releases each. Changes nothing.
    Exit 0: the ledger is consistent. 74: it is damaged or inconsistent.

    Examples:
        agentctl ledger check
        agentctl ledger check --json
    """
    from agentctl.cli.error_output import report_settings
    from agentctl.cli.ledger.ledger_output import check_document, check_table, damage_error
    from agentctl.ledger.check import check as prove

    as_json = wants_json(output, json=json)
    path = report_settings().settings.ledger_address
    found = prove(path)
    error = damage_error(found, path)
    from agentctl.cli.ui.columns import stdout_page

    print(check_document(found, path, error) if as_json else check_table(found, path, stdout_page()))
    if error is not None:
        from agentctl.cli.error_output import print_error
        from agentctl.cli.exit_codes import ExitStatus

        print_error(error.message, error.hint)
        raise typer.Exit(ExitStatus.state)


def reconcile(
    attempt: Annotated[
        str | None, typer.Argument(metavar="ATTEMPT", help="Id of an attempt to settle.", show_default=False)
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Settle all attempts of a run.", rich_help_panel=WHAT)
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option("--provider", metavar="NAME", help="Settle all attempts at a provider.", rich_help_panel=WHAT),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Settle by a usage export (CSV; - is stdin) of the provider that --provider names.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    clear_overrun: Annotated[
        str | None,
        typer.Option(
            "--clear-overrun",
            metavar="PROVIDER/MODEL",
            help="Reset the hold of this model to its usual worst case, after a call cost more than that.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    clear_substitute: Annotated[
        str | None,
        typer.Option(
            "--clear-substitute",
            metavar="PROVIDER/MODEL",
            help="Reset the hold of this model to its own price, after another model answered instead.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    clear_miscount: Annotated[
        str | None,
        typer.Option(
            "--clear-miscount",
            metavar="PROVIDER/MODEL",
            help="Hold the counted input tokens of this model again, until a report has more than were counted.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    clock: Annotated[
        bool,
        typer.Option(
            "--clock",
            help="Accept the current wall clock, after it was wrongly ahead; releases no amount by itself.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    actual: Annotated[
        str | None, typer.Option("--actual", metavar="USD", help="Actual cost of the attempts (0: nothing was billed).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")] = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Settle amounts in doubt with their actual cost.

    Refused for attempts of a running process, and inside a run.
    Reported usage takes precedence over an export, and an export over --actual.

    Examples:
        agentctl ledger reconcile --run 01KB2 --actual 0
        agentctl ledger reconcile --provider openai --from may.csv
        agentctl ledger reconcile --clock --dry-run
    """
    from agentctl.cli.error_output import report_settings

    as_json = wants_json(output, json=json)
    request = _ReconcileRequest(
        attempt, run, provider, from_, clear_overrun, clear_substitute, clear_miscount, actual, clock
    )
    refuse_inside_a_run()
    _check_request(request)
    path = report_settings().settings.ledger_address
    if clear_overrun is not None:
        _clear(path, "overrun", clear_overrun, dry_run=dry_run, as_json=as_json)
        return
    if clear_substitute is not None:
        _clear(path, "substitute", clear_substitute, dry_run=dry_run, as_json=as_json)
        return
    if clear_miscount is not None:
        _clear(path, "miscount", clear_miscount, dry_run=dry_run, as_json=as_json)
        return
    if clock:
        _reset_clock(path, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    reconciler = _export_reconciler(path, request) if from_ is not None else _manual_reconciler(path, request)
    only: Collection[str] | None = None
    if not dry_run and not yes:
        only = _confirm(reconciler)
    from agentctl.cli.ledger.ledger_output import reconcile_document, reconcile_table
    from agentctl.cli.ui.columns import stdout_page

    found = reconciler(dry_run, only)
    if as_json:
        print(reconcile_document(found, dry_run=dry_run))
    else:
        print(reconcile_table(found, dry_run=dry_run, page=stdout_page()))


def migrate(
    grant: Annotated[
        str | None,
        typer.Option("--grant", metavar="ROLE", help="Give a role the rights that runs need.", show_default=False),
    ] = None,
    replicated: Annotated[
        bool | None,
        typer.Option(
            "--replicated/--not-replicated",
            help="Note whether a standby is attached, where runs may not see it.",
            show_default=False,
        ),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Create or migrate the shared ledger on PostgreSQL.

    It needs a role that may create tables; runs need SELECT, INSERT and UPDATE only.
    A ledger in a file is migrated by the next run.

    Examples:
        agentctl ledger migrate
        agentctl ledger migrate --grant agentctl_runs
    """
    from agentctl.cli.error_output import report_settings
    from agentctl.cli.ledger.ledger_output import migration_document
    from agentctl.core.errors import UsageError
    from agentctl.core.ledger_address import PostgresAddress

    as_json = wants_json(output, json=json)
    address = report_settings().settings.ledger_address
    if not isinstance(address, PostgresAddress):
        raise UsageError(
            "no shared ledger is set; the next run migrates a ledger in a file",
            hint="name it in AGENTCTL_LEDGER, or in your own .env: agentctl config path",
        )
    from agentctl.ledger.postgres import migrate as migrate_server

    before, after = migrate_server(address, role=grant or "", replicated=replicated)
    if as_json:
        print(migration_document(address, before, after))
    elif before == after:
        print(f"{address} has schema {after}: nothing to migrate")
    else:
        print(f"{address}: {f'migrated from schema {before} to' if before else 'created with schema'} {after}")


COMMANDS: dict[str, Callable[..., None]] = {
    "check": check,
    "reconcile": reconcile,
    "reprice": reprice,
    "migrate": migrate,
    "import": import_,
}

_Reconciler = Callable[[bool, "Collection[str] | None"], "Reconciliation"]


class _ReconcileRequest(NamedTuple):
    attempt: str | None
    run: str | None
    provider: str | None
    from_: str | None
    clear_overrun: str | None
    clear_substitute: str | None
    clear_miscount: str | None
    actual: str | None
    clock: bool


def refuse_inside_a_run() -> None:
    """Refuse to change the ledger from inside a run."""
    from agentctl.core.errors import ActionDenied
    from agentctl.settings.lineage import is_inside_a_run

    if is_inside_a_run():
        raise ActionDenied(
            "the ledger cannot be changed from inside a run", hint="run the command yourself after the run has ended"
        )


def _check_request(request: _ReconcileRequest) -> None:
    from agentctl.core.errors import UsageError

    whose = None if request.from_ else request.provider  # with --from it names the provider of the export
    clears = [what for what in (request.clear_overrun, request.clear_substitute, request.clear_miscount) if what]
    given = (request.attempt, request.run, whose, request.from_, *clears, request.clock)
    if len([what for what in given if what]) != 1 or (request.clock and request.provider):
        raise UsageError(
            "reconcile takes exactly one of ATTEMPT, --run, --provider, --from, --clear-overrun, --clear-substitute,"
            " --clear-miscount and --clock",
            hint="agentctl ledger check   lists amounts in doubt, with the command that releases each",
        )
    needs_actual = not request.from_ and not clears and not request.clock
    if needs_actual and request.actual is None:
        raise UsageError(
            "--actual is missing", hint="add --actual USD; --actual 0 if the provider shows that nothing was billed"
        )
    if not needs_actual and request.actual is not None:
        raise UsageError("--actual is only allowed with ATTEMPT, --run or --provider")


def _dollars(text: str) -> Decimal:
    from decimal import Decimal, InvalidOperation

    from agentctl.core.errors import UsageError

    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal(-1)
    if not usd.is_finite() or not 0 <= usd <= 1_000_000:
        raise UsageError(f'--actual "{text}" is not an amount in dollars from 0 to 1000000, such as 0.0123')
    return usd


def _manual_reconciler(path: LedgerAddress, request: _ReconcileRequest) -> _Reconciler:
    from agentctl.ledger.reconcile import reconcile as settle
    from agentctl.ledger.usage_export import up_to_nano

    nano = up_to_nano(_dollars(request.actual or ""))
    by: By = "attempt" if request.attempt else "run" if request.run else "provider"
    value = request.attempt or request.run or request.provider or ""
    return lambda dry_run, only: settle(path, by, value, actual_nano=nano, who=_user_name(), dry_run=dry_run, only=only)


def _export_reconciler(path: LedgerAddress, request: _ReconcileRequest) -> _Reconciler:
    from agentctl.ledger.export_matching import reconcile_export
    from agentctl.ledger.usage_export import read_export

    export = read_export(_read_text(request.from_ or ""), provider=request.provider or "")
    return lambda dry_run, only: reconcile_export(path, export, who=_user_name(), dry_run=dry_run, only=only)


def _read_text(source: str) -> str:
    import os
    import sys
    from pathlib import Path

    from agentctl.cli.error_output import waiting_notice
    from agentctl.core.bounded_read import read_to_end
    from agentctl.core.errors import UsageError

    late = waiting_notice(f"--from {source}")
    try:
        if source == "-":
            data = read_to_end(sys.stdin.fileno(), most=_MOST_BYTES, late=late)
        else:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a named pipe may have no writer yet
            with os.fdopen(os.open(Path(source).expanduser(), flags), "rb") as file:
                data = read_to_end(file.fileno(), most=_MOST_BYTES, late=late)
    except (OSError, ValueError, RuntimeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"--from {source} cannot be read: {said.lower()}") from error
    if len(data) > _MOST_BYTES:
        raise UsageError(f"--from {source} is longer than 64 MiB", hint="export a shorter period")
    utf_16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))  # "Unicode text" of Excel
    return data.decode("utf-16" if utf_16 else "utf-8", "replace")


def _user_name() -> str:
    import os
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _confirm(reconciler: _Reconciler) -> Collection[str] | None:
    """Ask the user and return the confirmed attempts; None (all) if asking is not possible or nothing is freed.

    Raises:
        ActionDenied: the answer was no.
    """
    from agentctl.cli.prompts import ask_yes_no, can_ask
    from agentctl.cli.ui.format import money, plural
    from agentctl.core.errors import ActionDenied

    if not can_ask():
        return None
    would = reconciler(True, None)
    if not would.freed_nano:
        return None
    if not ask_yes_no(f"Give back {money(would.freed_nano)} of {plural(len(would.done), 'attempt')}?"):
        raise ActionDenied("nothing was released")
    return {one.attempt_id for one in would.done}


def _clear(path: LedgerAddress, what: Clearable, name: str, *, dry_run: bool, as_json: bool) -> None:
    from agentctl.cli.ledger.ledger_output import cleared_document
    from agentctl.core.text import safe_text
    from agentctl.ledger.reconcile import clear_miscounts, clear_overrun, clear_substitutes

    provider, _, model = name.partition("/")
    clear = {"overrun": clear_overrun, "substitute": clear_substitutes, "miscount": clear_miscounts}[what]
    done = clear(path, provider, model, dry_run=dry_run)
    again = {
        "overrun": "hold {} reset to the usual worst case",
        "substitute": "hold {} reset to its own price",
        "miscount": "input {} counted in tokens again",
    }[what]
    if as_json:
        print(cleared_document(what, name, done=done, dry_run=dry_run))
    elif not done:
        print(f"{safe_text(name)}: nothing to clear")
    else:
        print(f"{safe_text(name)}: its {again.format('would be' if dry_run else 'is')}")


def _reset_clock(path: LedgerAddress, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    from agentctl.cli.ledger.ledger_output import clock_document, clock_table
    from agentctl.cli.prompts import ask_yes_no, can_ask
    from agentctl.core.errors import ActionDenied
    from agentctl.ledger.reconcile import reset_clock

    if not dry_run and not yes and can_ask():
        would = reset_clock(path, dry_run=True)
        if would.done and not ask_yes_no(f"Is it {would.now.astimezone():%Y-%m-%d %H:%M} now?"):
            raise ActionDenied("nothing was reset")
    found = reset_clock(path, dry_run=dry_run)
    print(clock_document(found, dry_run=dry_run) if as_json else clock_table(found, dry_run=dry_run))
