"""Write what is generated from the code: pages of ``docs/``, tables within a written page, JSON Schemas, action.yml.

``python -m tests.support.docs_pages`` writes them, with ``--check`` it names those that differ and exits with 1.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from agentctl.cli.exit_codes import SENTENCES
from agentctl.providers.builtin.lookup import Lookup
from agentctl.providers.builtin.match import LOOKUPS
from agentctl.sandbox.promises import NEEDS, PROMISES
from agentctl.settings.declaration import SECTIONS, Declaration
from agentctl.settings.names import DECLARED, ENV_NAMES, flag_name
from agentctl.settings.show import ALSO_READ
from tests.support.json_schemas import schema_files
from tests.support.settings_files import written_default
from tests.support.workflows.action_inputs import with_inputs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_COMMAND = "python -m tests.support.docs_pages"
_WIDTH = 110

_LIMITS = {
    "max_cost_per_task": "USD",
    "max_cost_per_hour": "USD",
    "max_tokens_per_task": "tokens",
    "max_cost_per_minute": "USD",
    "max_cost_per_day": "USD",
    "max_cost_per_month": "USD",
    "max_calls_per_minute": "calls",
}
CONTEXT_FIELDS = (
    "max_context_tokens",
    "keep_last_n_user_messages",
    "keep_last_n_assistant_messages",
    "max_result_tokens",
    "context_cut_percent",
    "context_warn_percent",
    "summaries",
    "summary_tokens",
)

#: Module and constant of each schema's name, and the commands that print it.
_SCHEMAS = (
    ("agentctl.cli.documents", "RUN_SCHEMA", "`run`: how a run ended"),
    ("agentctl.cli.documents", "ERROR_SCHEMA", "any other command that failed"),
    ("agentctl.cli.run.estimate_output", "SCHEMA", "`run --estimate`: what it would cost"),
    ("agentctl.cli.costs.document", "SCHEMA", "`costs`"),
    ("agentctl.cli.ledger.ledger_output", "CHECK_SCHEMA", "`ledger check`"),
    ("agentctl.cli.ledger.ledger_output", "RECONCILE_SCHEMA", "`ledger reconcile`"),
    ("agentctl.cli.ledger.import_command", "IMPORT_SCHEMA", "`ledger import`"),
    ("agentctl.cli.ledger.reprice_output", "SCHEMA", "`ledger reprice`"),
    ("agentctl.cli.runs.command", "SCHEMA", "`runs list`, `runs show`"),
    ("agentctl.cli.runs.comparison.differences", "SCHEMA", "`runs diff`"),
    ("agentctl.cli.runs.cleanup", "SCHEMA", "`runs rm`, `runs prune`"),
    ("agentctl.cli.runs.context_chart", "SCHEMA", "`runs show --context`"),
    ("agentctl.cli.runs.export.document", "SCHEMA", "`runs export --format json`"),
    ("agentctl.cli.cassette.command", "SCHEMA", "`cassette show`, `cassette check`"),
    ("agentctl.cli.agents.agent_document", "SCHEMA", "`agents`: `list`, `show`, `new`, `check`, `route`"),
    (
        "agentctl.cli.tools",
        "SCHEMA",
        "`tools list`, `tools show`: JSON schemas (`offered`: as a model sees it)",
    ),
    ("agentctl.cli.mcp.server_output", "SCHEMA", "`mcp list`, `mcp show`, `mcp add`, `mcp rm`"),
    ("agentctl.cli.mcp.live_servers", "TOOLS_SCHEMA", "`mcp test`, `mcp tools`, `mcp pin`"),
    ("agentctl.cli.mcp.live_servers", "CALL_SCHEMA", "`mcp call`"),
    ("agentctl.cli.policy", "SCHEMA", "`policy check`"),
    ("agentctl.cli.providers.command", "SCHEMA", "`providers list`, `providers set-key`"),
    ("agentctl.cli.providers.models", "SCHEMA", "`models`: each model with window, prices, and whether there is a key"),
    ("agentctl.cli.providers.live_test", "SCHEMA", "`providers test`"),
    ("agentctl.cli.config", "SCHEMA", "`config show`, `config path`, `config check`"),
    ("agentctl.cli.doctor.command", "SCHEMA", "`doctor`"),
)

_SETTINGS_HEAD = f"""\
# Settings: every variable, flag and line of config.toml

<!-- Written by `{_COMMAND}` from agentctl/settings/model.py and show.py; do not edit. -->

Each setting has one name in `config.toml`, one environment variable and, for most, one flag of `agentctl run`. The
first of these places that has a value wins:

1. the flag
2. the environment
3. `--env-file FILE`
4. the file of the run's [agent](agents.md)
5. the project's `.env`, then its `.agentctl.toml`, if you trust them (`agentctl trust`)
6. your `.env` in the config folder
7. your `config.toml` in the config folder
8. the default

A variable without the prefix `AGENTCTL_` also works with it; the prefixed one wins. An empty variable counts as unset,
except that an empty key variable keeps agentctl from falling back to Ollama or `builtin`.

```bash
agentctl config show    # what is set, and where it came from
agentctl config show --all
agentctl config path    # where the files are
agentctl config check   # what is wrong with them
agentctl config init --preset ci --config ci.toml --force && agentctl config show --config ci.toml
agentctl config get max_cost_per_task
MAX_COST_PER_TASK=0.10 agentctl run --agent system "How long has this machine been up?"
```

`agentctl config show` lists the settings that something other than the default sets. With `--all` it lists every
setting by section; one that is unset shows the default that holds.

`agentctl config init` writes a `config.toml` with every setting at its default, commented out; `--preset ci` writes
tight settings for CI, `--config FILE` writes another file. `agentctl config set NAME VALUE` changes one line of your
`config.toml` and keeps the rest; `agentctl config set 'prices."openai/my-model"' input=0.15 output=0.60` sets a price,
and `agentctl config set providers.lab.base_url http://127.0.0.1:8080/v1` a part of a
[provider of your own](providers.md#a-provider-of-your-own). `agentctl config get NAME` prints one value alone.

A file for `--env-file` has lines `NAME=value`. Other lines are reported, and a file without any is refused (exit 2).

A wrong value stops the commands that need it (exit 2); the others warn and go on. A run never starts with a wrong
limit or permission.

A `.env` or `.agentctl.toml` in the working directory is not trusted: see
[Permissions](permissions-and-sandbox.md#project-files).
"""

_BUILTIN_HEAD = f"""\
# Questions that builtin answers

<!-- Written by `{_COMMAND}` from agentctl/providers/builtin; do not edit. -->

`builtin` is the provider that needs no set-up. It is not a language model: it matches your words to a table of
{len(LOOKUPS)} read-only lookups, takes the arguments from your own words, runs one tool and prints its result. It
sends nothing anywhere and costs nothing. The same words always give the same call; a day or an hour, such as
`since yesterday`, is a time by this machine's clock.

```bash
agentctl run --provider builtin "How much disk is free?"
agentctl run --provider builtin "Find files larger than 100MB"
agentctl run --provider builtin "What is the meaning of life?" # exit 1
agentctl run --provider builtin "Restart the container web"    # exit 5
```

- Questions about files cover the working directory and what is below it; `--workdir /var/log` names another folder.
- If builtin is not sure which lookup you mean, it says so, names the nearest ones, and exits with 1.
- If you ask for a change, it prints the command that makes it, and exits with 5.
- Questions that ask why are answered with the facts; an explanation needs a model: `agentctl help setup`. Why a
  container fails or keeps restarting is answered with its state, exit code, restarts and last log lines.

Each lookup below has a command line that shows the same, and the questions that it answers. The words in capitals are
yours: NAME, NUMBER, PATH, FILE, PATTERN (`*.log`), TEXT (in quotes), SIZE (`100MB`), SINCE (`in the last hour`,
`since yesterday`), STATE (`exited`), HEALTH (`unhealthy`) and DAEMON (`sshd`). You may add polite words, such as
"please", and words such as "show" and "list". Some lookups also take a command line as the task.
"""


def pages() -> Mapping[Path, str]:
    """Return each file that the code determines, whole or in part, with the text that it must have."""
    found = {
        DOCS / "settings.md": settings_page(),
        DOCS / "builtin.md": builtin_page(),
        DOCS / "exit-codes.md": exit_codes_page(),
    }
    tables = (
        ("budget", limits_table()),
        ("context", context_table()),
        ("formatting", schemas_table()),
        ("permissions-and-sandbox", promises_table()),
    )
    for name, table in tables:
        path = DOCS / f"{name}.md"
        found[path] = _with_table(path.read_text(encoding="utf-8"), table)
    action = ROOT / "action.yml"
    found[action] = with_inputs(action.read_text(encoding="utf-8"))
    return {**found, **schema_files()}


def settings_page() -> str:
    """Return the page of every setting, by section, and of the variables that are not settings."""
    parts = [_SETTINGS_HEAD]
    for section, title in SECTIONS.items():
        fields = {field: one for field, one in DECLARED.items() if one.section == section}
        parts.append(f"\n## {title[0].upper()}{title[1:]}\n\n")
        parts.extend(_setting_item(field, declared) for field, declared in fields.items())
    parts.append("\n## Other variables that agentctl reads\n\n")
    for names, meaning in ALSO_READ.items():
        marked = re.sub(r"[A-Z_]{2,}", r"`\g<0>`", names)
        parts.append(_item(f"{marked}: {_condition(meaning)}"))
    return "".join(parts)


def _setting_item(field: str, declared: Declaration) -> str:
    default = written_default(field) if declared.variables else ""
    names = [f"`{field}`" + (f" = `{default}`" if default else "")]
    flags = (
        dict.fromkeys((flag_name(field), *(declared.flag.spellings or (f"--{field.replace('_', '-')}",))))
        if declared.flag
        else {}
    )
    names += [f"`{flag}`" for flag in flags]
    names += [f"`{name}`" for name in declared.documented]
    pages = {"prices": "[Prices](budget.md#prices)", "providers": "[Set-up](providers.md#a-provider-of-your-own)"}
    pages |= dict.fromkeys(("mcp", "mcp_config"), "[MCP servers](mcp.md)")
    more = f"; see {pages[field]}" if field in pages else ""
    return _item(f"{', '.join(names)}: {_condition(declared.help)}{more}")


def _condition(text: str) -> str:
    """Return "if true, X" for "true: X"."""
    return re.sub(r"^(true|false|strict|set|dumb): ", r"if \1, ", text)


def _item(text: str) -> str:
    return (
        textwrap.fill(
            text, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        + "\n"
    )


def builtin_page() -> str:
    """Return the page of every question of builtin's table."""
    return _BUILTIN_HEAD + "".join(_lookup_section(lookup) for lookup in LOOKUPS)


def _lookup_section(lookup: Lookup) -> str:
    same_as = re.sub(r"\{\w+(?:\+1)?\|([^}]*)\}", r"\1", lookup.same_as)
    same_as = re.sub(r"\{(\w+)(\+1)?\}", lambda name: name[1].upper(), same_as)
    same_as = re.sub(r"\[( ?)([^\]]*?)( ?)\]", r"\1[\2]\3", same_as)
    title = f"{lookup.about[0].upper()}{lookup.about[1:]}"
    parts = [f"\n## {title}\n\nTool `{lookup.tool}`, the same as `{same_as}`.\n"]
    for head, text in (("", lookup.examples), ("Why: ", lookup.causes), ("Command lines: ", lookup.commands)):
        questions = sorted({" ".join(one.split()) for one in text.split("|")} - {""})
        answered = [_shown(one) for one in questions]
        if answered:
            marks = "`" if head.startswith("Command") else ""
            line = head + ", ".join(f"{marks}{one}{marks}" for one in answered)
            filled = textwrap.fill(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
            parts.append(f"\n{filled}\n")
    return "".join(parts)


def _shown(question: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda kind: "PATH" if kind[1] == "where" else kind[1].upper(), question)


def exit_codes_page() -> str:
    """Return the page of the exit codes."""
    rows = [(f"{status.value}", status.shown, sentence) for status, sentence in SENTENCES.items()]
    return (
        "# Exit codes\n\n"
        f"<!-- Written by `{_COMMAND}` from agentctl/cli/exit_codes.py; do not edit. -->\n\n"
        + _table(("Code", "Status", "Meaning"), rows)
        + "\nThe document of `agentctl run --json` has the status in `status`.\n"
    )


def limits_table() -> str:
    """Return the table of the limits of a run."""
    rows = [
        (
            f"`{field}`",
            f"{written_default(field)} {unit}" if written_default(field) else f"none ({unit})",
            *_names(field),
        )
        for field, unit in _LIMITS.items()
    ]
    return _table(("Limit", "Default", "Flag", "Variable"), rows)


def context_table() -> str:
    """Return the table of the settings of the context."""
    rows = [
        (f"`{field}`", written_default(field) or "an eighth of the context", *_names(field)) for field in CONTEXT_FIELDS
    ]
    return _table(("Setting", "Default", "Flag", "Variable"), rows)


def schemas_table() -> str:
    """Return the table of the JSON documents' schemas."""
    rows = [(f"`{getattr(import_module(module), name)}`", what) for module, name, what in _SCHEMAS]
    return _table(("Schema", "Printed by"), rows)


def promises_table() -> str:
    """Return the table of the sandbox's tiers: what each needs, and which promises it keeps."""
    rows = [(text, *(str(kept[tier]) for tier in NEEDS)) for text, kept in PROMISES.items()]
    return _table(("A command", *(f"`{tier}`" for tier in NEEDS)), [("needs", *NEEDS.values()), *rows])


def _names(field: str) -> tuple[str, str]:
    return f"`{flag_name(field)}`", f"`{ENV_NAMES[field][-1]}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns; the last column is not padded."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    widths[-1] = len(head[-1])
    return "".join(_table_lines([lines[0], tuple("-" * width for width in widths), *lines[1:]], widths))


def _table_lines(lines: Iterable[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    for line in lines:
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |\n"


def _with_table(text: str, table: str) -> str:
    """Return the page with ``table`` in place of the one whose head has the same columns.

    Raises:
        ValueError: the page has no such table, or several.
    """
    head = table.splitlines()[0].strip("| ").split("|")
    columns = r" *\| *".join(re.escape(column.strip()) for column in head)
    found, count = re.subn(rf"^\| *{columns} *\|\n(?:\|.*\n)*", lambda _: table, text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"{count} tables with the columns of {table.splitlines()[0]}")
    return found


def main(argv: list[str]) -> int:
    """Write the pages, or name those that differ."""
    wanted = pages()
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" not in argv:
            path.write_text(wanted[path], encoding="utf-8")
        print(f"{'differs' if '--check' in argv else 'wrote'}: {path.relative_to(ROOT)}")
    if stale and "--check" in argv:
        print(f"write them again: {_COMMAND}")
    return 1 if stale and "--check" in argv else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
