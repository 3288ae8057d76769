"""``agentctl config``: show, get, set and check the settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.options import Config, EnvFile, Json, Output, wants_json

if TYPE_CHECKING:
    from pathlib import Path

    from agentctl.cli.documents import Document
    from agentctl.cli.ui.columns import Page
    from agentctl.settings.price_lines import PricePath
    from agentctl.settings.provider_lines import ProviderPath
    from agentctl.settings.show import SettingRow

SCHEMA = "agentctl.config/1"
SHOW_ALL = "agentctl config show --all"

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the setting, its variable or its flag.")]


def show(
    every: Annotated[bool, typer.Option("--all", "-a", help="Show every setting, by section.")] = False,
    config: Config = None,
    env_file: EnvFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Show the settings that are set, with their value and source; keys are masked.

    --all also shows the settings that are not set, with their defaults. JSON has every setting.

    Examples:
        agentctl config show
        agentctl config show --all
        agentctl config show --config configs/ci.toml
    """
    from agentctl.settings import load_settings
    from agentctl.settings.show import explain

    as_json = wants_json(output, json=json)
    loaded = load_settings(flags={}, config=config, env_files=env_file or (), remember=False, needs=())
    rows = explain(loaded)
    _notes(loaded.notes)
    if as_json:
        _print({"settings": {row.name: _setting(row) for row in rows}})
        return
    from agentctl.cli.ui.columns import stdout_page
    from agentctl.cli.ui.format import plural

    page, others = stdout_page(), [row for row in rows if not row.is_set]
    if every or len(others) < len(rows):
        print(_settings_table(rows if every else [row for row in rows if row.is_set], page, every=every))
    if others and not every:
        at = "is at its default" if len(others) == 1 else "are at their defaults"
        print(("\n" if len(others) < len(rows) else "") + page.prose(f"{plural(len(others), 'setting')} {at}:"))
        print(f"  {SHOW_ALL}")


def _settings_table(rows: Sequence[SettingRow], page: Page, *, every: bool) -> str:
    """Return a table of settings; with ``every`` by section, and unset ones with the default that holds."""
    from pathlib import Path

    from agentctl.cli.ui.columns import Column
    from agentctl.settings.declaration import SECTIONS

    home = f"{Path.home()}/"

    def source(row: SettingRow) -> str:
        return row.source if page.width is None else row.source.replace(home, "~/", 1)

    lines: list[tuple[str, ...] | str] = []
    for section, about in SECTIONS.items():
        found = [row for row in rows if row.section == section]
        lines += [f"{about[0].upper()}{about[1:]}:"] if every and found else []
        lines += [(row.name, row.value or row.default, row.default if row.is_set else "", source(row)) for row in found]
    head = (Column("setting"), Column("value", "text"), Column("default", "text", drop=1), Column("from", "text"))
    return page.table(head, lines)


def _setting(row: SettingRow) -> Document:
    return {"value": row.value, "source": row.source, "default": row.default, "is_set": row.is_set}


def path(output: Output = None, json: Json = False) -> None:
    """Show the paths of the files and folders of agentctl.

    Examples:
        agentctl config path
        agentctl config path --json
    """
    from agentctl.settings import load_settings
    from agentctl.settings.names import DIR_FIELDS
    from agentctl.settings.show import paths

    as_json = wants_json(output, json=json)
    loaded = load_settings(flags={}, remember=False, needs=DIR_FIELDS)
    _notes(loaded.warnings)
    places = paths(loaded)
    if as_json:
        _print({"paths": {place.name: {"path": str(place.path), "exists": place.exists} for place in places}})
        return
    from agentctl.cli.ui.columns import Column, stdout_page

    cells = [(place.name, str(place.path), "" if place.exists else "does not exist yet") for place in places]
    print(stdout_page().table((Column("what"), Column("path", "line"), Column("")), cells))


def check(config: Config = None, env_file: EnvFile = None, output: Output = None, json: Json = False) -> None:
    """Check the settings as a run would; exit 2 if one is invalid.

    Examples:
        agentctl config check
        agentctl config check --env-file .env
    """
    from agentctl.core.errors import AgentctlError
    from agentctl.settings import check_settings

    as_json = wants_json(output, json=json)
    checked = check_settings(flags={}, config=config, env_files=env_file or ())
    problems, notes, chosen, code = list(checked.problems), list(checked.notes), "", 2
    if checked.loaded is not None:
        from agentctl.cli.exit_codes import exit_status
        from agentctl.providers.selection import resolve_provider
        from agentctl.runner.assemble import assemble

        try:
            choice = resolve_provider(checked.loaded)
            if checked.loaded.has_mcp:
                from agentctl.settings.mcp_servers import load_mcp_config

                servers = load_mcp_config(checked.loaded)
                notes += [*servers.warnings, *map(str, servers.skipped)]
            assemble(checked.loaded, choice)  # opens nothing; raises what a run would raise
            chosen = f"{choice.provider}/{choice.model}" if choice.model else choice.provider
            chosen += f" ({choice.chosen_by})"
        except AgentctlError as error:
            problems.append(f"{error.message} ({error.hint})" if error.hint else error.message)
            code = exit_status(error).value
    if as_json:
        _print({"ok": not problems, "problems": problems, "notes": notes, "provider": chosen or None})
    else:
        _notes(tuple(notes))
        from agentctl.cli.error_output import print_error

        for problem in problems:
            print_error(problem, "")
        if not problems:
            print(f"the settings are valid; a run would use {chosen}")
    if problems:
        raise typer.Exit(code)


def get(name: Name, config: Config = None, env_file: EnvFile = None, output: Output = None, json: Json = False) -> None:
    """Print one value in the form that config set takes; an empty line if it is unset.

    Examples:
        agentctl config get max_cost_per_task
    """
    from agentctl.core.errors import UsageError
    from agentctl.core.text import safe_text
    from agentctl.settings import load_settings
    from agentctl.settings.config_file import find_field
    from agentctl.settings.names import SECRET_FIELDS
    from agentctl.settings.price_lines import parse_price_path, price_value
    from agentctl.settings.provider_lines import parse_provider_path, provider_value
    from agentctl.settings.show import format_for_set

    as_json = wants_json(output, json=json)
    price, own = parse_price_path(name), parse_provider_path(name)
    field = "prices" if price is not None else "providers" if own is not None else find_field(name)
    if field in SECRET_FIELDS:
        raise UsageError("keys are never printed", hint="agentctl providers list   shows which are set, masked")
    needs = () if own is not None else (field,)
    loaded = load_settings(flags={}, config=config, env_files=env_file or (), remember=False, needs=needs)
    if own is not None:
        loaded.refuse_wrong(f"provider {own.name}")
    value = format_for_set(field, getattr(loaded.settings, field))
    if price is not None:
        value = price_value(loaded.settings.prices, price) or None
    if own is not None:
        value = provider_value(loaded.settings.providers, own) or None
    _notes(loaded.notes)
    if as_json:
        _print({"name": str(price or own or field), "value": value, "source": str(loaded.sources[field])})
    else:
        print(safe_text(value or ""))


def set_(
    name: Name,
    value: Annotated[
        list[str] | None, typer.Argument(metavar="VALUE", help="Value; several for a list; 'none' disables a limit.")
    ] = None,
    unset: Annotated[bool, typer.Option("--unset", "--remove", help="Remove the setting from the file.")] = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Set one value in your config.toml, and leave the rest of the file unchanged.

    Examples:
        agentctl config set max_cost_per_task 0.25
        agentctl config set tools docker_ps docker_logs
        agentctl config set providers.lab.price 0
        agentctl config set --unset max_cost_per_task
    """
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.errors import UsageError
    from agentctl.core.text import safe_text
    from agentctl.settings.config_file import check_settable, find_field, save_value
    from agentctl.settings.load import read_sources
    from agentctl.settings.price_lines import parse_price_path
    from agentctl.settings.provider_lines import parse_provider_path

    as_json = wants_json(output, json=json)
    here = read_sources()
    table = parse_price_path(name) or parse_provider_path(name)
    if table is not None:
        _set_in_table(here.config_file, table, value or [], unset=unset, as_json=as_json)
        return
    field, file = find_field(name.partition("=")[0]), here.config_file
    check_settable(field, file)  # before any message repeats the value: it may be a key
    if unset == bool(value):
        hint = f"agentctl config set {field} VALUE   or: agentctl config set {field} --unset"
        raise UsageError("give either a value or --unset", hint=hint)
    if value:
        _refuse_unknown_names(field, value)
    changed = save_value(file, field, value or ())
    shown = re.sub(r"//\S*@", "//***@", ",".join(value or ()))  # a password in an address
    if unset:
        print_stderr(safe_text(f"removed {field} from {file}" if changed else f"{field} is not set in {file}"))
    else:
        print_stderr(
            safe_text(f"set {field} = {shown} in {file}" if changed else f"{field} = {shown} is already set in {file}")
        )
    warning = "" if unset else _overriding_source(field)
    if warning:
        print_stderr(f"warning: {warning}")
    if as_json:
        said = {"name": field, "value": shown if value else None, "path": str(file), "changed": changed}
        _print({**said, "warning": warning or None})


def _refuse_unknown_names(field: str, words: list[str]) -> None:
    """Refuse a tool, an argument or an agent that does not exist: no run could start.

    Raises:
        UsageError: there is one, with the nearest name.
    """
    if field == "agent":
        from agentctl.runner.agent_spec import find_named
        from agentctl.settings import load_settings

        find_named(words[0].strip(), load_settings(flags={}, remember=False, needs=("report",)))
    elif field in ("tools", "allow", "ask", "deny"):
        from agentctl.permissions.decision import parse_known_rules, refuse_unknown_tools
        from agentctl.settings.config_file import parse_value

        value = parse_value(field, words)
        names = [str(name) for name in value] if isinstance(value, tuple) else []
        if field == "tools":
            refuse_unknown_tools(names, field)
        else:
            parse_known_rules(names, field)


def _set_in_table(file: Path, part: PricePath | ProviderPath, words: list[str], *, unset: bool, as_json: bool) -> None:
    """Set or remove a price, or a part of one of the user's own providers."""
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.errors import UsageError
    from agentctl.core.text import safe_text
    from agentctl.settings.config_file import save_price, save_provider
    from agentctl.settings.price_lines import PricePath

    if unset == bool(words):
        one = f"agentctl config set {part.quoted}"
        raise UsageError("give either a value or --unset", hint=f"{one} {part.example}   or: {one} --unset")
    missing: Sequence[PricePath | ProviderPath]
    if isinstance(part, PricePath):
        changed, missing = save_price(file, part, words)
    else:
        changed, missing = save_provider(file, part, words)
    shown = re.sub(r"//\S*@", "//***@", " ".join(words))  # a password in an address
    if unset:
        said = f"removed {part} from {file}" if changed else f"{part} is not set in {file}"
    else:
        said = f"set {part} = {shown} in {file}" if changed else f"{part} = {shown} is already set in {file}"
    print_stderr(safe_text(said))
    warning = ""
    if missing:
        is_price = isinstance(missing[0], PricePath)
        value = "USD" if is_price else "http://127.0.0.1:8080/v1"
        whose = "runs of a model need" if is_price else "runs need"
        warning = f"{whose} {missing[0]} too: agentctl config set {missing[0].quoted} {value}"
        print_stderr(safe_text(f"warning: {warning}"))
    if as_json:
        document: Document = {"name": str(part), "value": shown or None, "path": str(file), "changed": changed}
        _print({**document, "warning": warning or None})


def _overriding_source(field: str) -> str:
    """Return a warning if a source other than a flag overrides ``field`` in the user's config.toml, else ""."""
    from agentctl.core.text import safe_text
    from agentctl.settings.load import read_sources
    from agentctl.settings.project_files import trusted_layers

    here = read_sources()
    entry = here.merged.entries.get(field)
    if entry is None or entry.source.kind in ("user .env", "user config"):
        layers = trusted_layers(here.found)[0]
        entry = next((layer.entries[field] for layer in layers if field in layer.entries), entry)
    if entry is None or entry.source.kind == "user config":
        return ""
    return safe_text(f"{entry.source} also sets {field} and takes precedence")


def init(
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="What to write: default (every setting, commented out) or ci (small limits, read-only, JSON).",
        ),
    ] = "default",
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="File to write instead of your config.toml.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file; it is kept as .old.")] = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Write a config.toml: every setting, commented out, or a preset.

    Examples:
        agentctl config init
        agentctl config init --preset ci
    """
    from pathlib import Path

    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text
    from agentctl.settings.config_file import preset_text, start_file
    from agentctl.settings.load import read_sources

    as_json = wants_json(output, json=json)
    text = preset_text(preset)
    file = read_sources().config_file if config is None else Path(config).absolute()
    kept = start_file(file, text, force=force)
    print_stderr(safe_text(f"wrote {file}" + (f"; the old file is kept as {kept}" if kept else "")))
    if as_json:
        _print({"path": str(file), "preset": preset, "kept": str(kept) if kept else None})


COMMANDS: dict[str, Callable[..., None]] = {
    "show": show,
    "get": get,
    "set": set_,
    "path": path,
    "init": init,
    "check": check,
}


def _notes(notes: tuple[str, ...]) -> None:
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text

    for note in notes:
        print_stderr(safe_text(note))


def _print(document: Document) -> None:
    from agentctl.cli.documents import print_document

    print_document(SCHEMA, document)
