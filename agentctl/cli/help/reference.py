"""The topics of ``agentctl help`` that tables in the code make: environment and formatting."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from agentctl.settings import Loaded, Settings, Source
from agentctl.settings.names import DECLARED, SECRET_FIELDS
from agentctl.settings.show import ALSO_READ, explain

_ENVIRONMENT = """\
Flags are stronger than the environment; then come --env-file, the user's .env, config.toml, the defaults. Where a name
stands without the prefix AGENTCTL_ it also works with it, and then wins. An empty value counts as not set, but an empty
key is remembered: nothing falls through to another provider. What holds now, and where it came from:

  agentctl config show
"""


def environment_text() -> str:
    """Return the topic's text."""
    return "\n".join((_ENVIRONMENT, *_variables(), "", "Heeded too:", "", *_others()))


def _variables() -> Iterator[str]:
    defaults = {row.name: row.value for row in explain(_defaults())}
    names = {field: ", ".join(declared.documented) for field, declared in DECLARED.items() if declared.documented}
    width = max(map(len, names.values()))
    for field, name in names.items():
        default = "" if field in SECRET_FIELDS or not defaults[field] else f" [{defaults[field]}]"
        yield f"{name.ljust(width)}  {DECLARED[field].help}{default}"


def _defaults() -> Loaded:
    """Return the settings at their defaults, whatever is set around us."""
    fields = Settings.model_fields
    return Loaded(settings=Settings.model_construct(), sources=dict.fromkeys(fields, Source("default")))


def _others() -> Iterator[str]:
    width = max(map(len, ALSO_READ))
    return (f"{name.ljust(width)}  {meaning}" for name, meaning in ALSO_READ.items())


#: Module and constant of each schema's name: read there, so that the list cannot drift.
_SCHEMAS = (
    ("agentctl.cli.documents", "RUN_SCHEMA", "run: how a run ended"),
    ("agentctl.cli.documents", "ERROR_SCHEMA", "any other command that failed"),
    ("agentctl.cli.run.estimate_output", "SCHEMA", "run --estimate: what it would cost"),
    ("agentctl.cli.costs.document", "SCHEMA", "costs"),
    ("agentctl.cli.ledger.ledger_output", "CHECK_SCHEMA", "ledger check"),
    ("agentctl.cli.ledger.ledger_output", "RECONCILE_SCHEMA", "ledger reconcile"),
    ("agentctl.cli.ledger.reprice_output", "SCHEMA", "ledger reprice"),
    ("agentctl.cli.runs.command", "SCHEMA", "runs list, runs show"),
    ("agentctl.cli.runs.context_chart", "SCHEMA", "runs show --context"),
    ("agentctl.cli.agents", "SCHEMA", "agents list, agents show"),
    ("agentctl.cli.tools", "SCHEMA", "tools list, tools show: with the arguments' JSON schema as a model sees it"),
    ("agentctl.cli.policy", "SCHEMA", "policy check"),
    ("agentctl.cli.providers.command", "SCHEMA", "providers list, providers set-key"),
    ("agentctl.cli.providers.live_test", "SCHEMA", "providers test"),
    ("agentctl.cli.config", "SCHEMA", "config show, path, check"),
    ("agentctl.cli.doctor.command", "SCHEMA", "doctor"),
)

_FORMATTING = """\
stdout holds what was asked for and nothing else: a run's answer, a list, a document. In text mode a run's stdout is
empty unless it ended with 0; a partial answer goes to stderr. Everything else (progress, warnings, hints, the summary)
goes to stderr, and -q leaves nothing there but errors.

  agentctl run -q "How much disk is free?"
  agentctl run "How much disk is free?" >answer.txt
  agentctl run --input - "Why did it crash?"          reads stdin as data beside the task

The summary is the last line on stderr: status, turns, dollars of the run's limit and of the hour's, time, the run's
id. -v gives the whole table, as a tripped limit always does.

  done · 3 turns · $0.0123 of $0.50 · hour $1.21 of $10 · 4.2 s · run 7f3a2c

-o (--output, --format) chooses the form; --json is -o json:

  text    a run's answer, as it is; never cut to the width of the terminal
  table   lists (the default of those commands)
  json    one document, also when the command failed and also for a wrong flag
  jsonl   runs only: one event a line at once, the last one is run_finished with the whole document
  csv     costs only: a header and a line for each group; plain decimals, empty where nobody knows the price

  agentctl run --json "How much disk is free?"
  agentctl run -o jsonl "How much disk is free?"
  agentctl costs --last-hour --json
  agentctl costs --this-month --by day,model -o csv
  agentctl runs show -o jsonl

Documents begin with "schema" and "version"; "error" is null, or {"kind", "message", "hint"}. Fields are only ever
added. Times are UTC; amounts come as "usd" and, exact, as whole "nano_usd"; what nobody knows is null, never 0.

SCHEMAS
Colour: --color, then AGENTCTL_COLOR, NO_COLOR, CLICOLOR_FORCE or FORCE_COLOR, then whether the stream is a terminal.
Forced colour never turns the live view on; without a terminal each turn is one plain line.

  agentctl run --color never "How much disk is free?"

What comes from a model, a tool or a file is made safe before it is shown: escapes are written out, keys redacted. A
reader that leaves (| head) ends a command silently. What each exit code means: agentctl help exit-codes
"""


def formatting_text() -> str:
    """Return the topic's text."""
    rows = [(str(getattr(import_module(module), name)), what) for module, name, what in _SCHEMAS]
    width = max(len(schema) for schema, _ in rows)
    return _FORMATTING.replace("SCHEMAS", "".join(f"  {schema.ljust(width)}  {what}\n" for schema, what in rows))
