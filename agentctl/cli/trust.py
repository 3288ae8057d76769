"""``agentctl trust``: trust the settings files of a project, list and revoke trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from agentctl.cli.options import Json, Output, wants_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentctl.cli.documents import Document
    from agentctl.settings.project_documents import ProjectDocument
    from agentctl.settings.project_files import FoundProjectFile
    from agentctl.settings.sources import SettingEntry

SCHEMA = "agentctl.trust/1"


def trust(
    place: Annotated[
        str | None, typer.Argument(metavar="DIR", help="Folder, or one of its files (default: the current folder).")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the trusted files and whether they still match.")] = False,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Revoke the trust; the file need not exist any more.")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="With --revoke: revoke the trust of all files.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")] = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Trust the .env, .agentctl.toml, .mcp.json and agents (.agentctl/agents) of a folder with their current content.

    Untrusted files can only tighten settings; untrusted agents and MCP servers are not used. A file that changes is no
    longer trusted.

    Examples:
        agentctl trust
        agentctl trust ~/work/shop
        agentctl trust --list
        agentctl trust --revoke --all
    """
    from agentctl.core.errors import UsageError

    as_json = wants_json(output, json=json)
    if list_ and (revoke or place is not None or yes):
        raise UsageError("--list cannot be combined with DIR, --revoke or --yes", hint="agentctl trust --list")
    if all_ and (not revoke or place is not None):
        raise UsageError("--all needs --revoke and takes no DIR", hint="agentctl trust --revoke --all")
    if list_:
        _list(as_json=as_json)
    elif revoke:
        _revoke(None if all_ else Path(place or ".").expanduser(), as_json=as_json)
    else:
        _trust(Path(place or ".").expanduser(), place or "", yes=yes, as_json=as_json)


class _Comparison(NamedTuple):
    """A file with the names that it would set, or the MCP servers that it would add; those overridden; what it cannot.

    ``effects`` has a sentence for each thing that trusting it permits.
    """

    found: FoundProjectFile
    names: tuple[str, ...]
    effects: tuple[str, ...]
    beaten: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


def _trust(place: Path, typed: str, *, yes: bool, as_json: bool) -> None:
    import shlex
    from datetime import UTC, datetime

    from agentctl.cli.error_output import print_stderr
    from agentctl.cli.prompts import ask_yes_no, can_ask
    from agentctl.core.errors import ActionDenied, UsageError
    from agentctl.core.text import safe_text
    from agentctl.settings.load import read_sources
    from agentctl.settings.project_documents import find_documents, with_trust
    from agentctl.settings.project_files import MCP_FILE
    from agentctl.settings.trust_store import TrustStore

    folder, only = _folder(place)
    here = read_sources(folder=folder)
    files = [found for found in here.found if only in ("", found.file.path.name)]
    servers = here.mcp_file if only in ("", MCP_FILE) else None
    found = with_trust(find_documents(folder, cwd=Path.cwd()), here.state_dir)
    documents = [_preview(one) for one in found if only in ("", str(one.file.path.relative_to(folder)))]
    if not files and not documents and servers is None:
        places = ".env, .agentctl.toml, .mcp.json or agents"
        raise UsageError(f"no project {places} in {folder / only if only else folder}")
    seen = [_compare(found, here.merged.entries) for found in files]
    seen += [] if servers is None else [_compare_servers(servers)]
    for line in (*(line for one in seen for line in _describe(one)), *(line for one in documents for line in one.said)):
        print_stderr(safe_text(line))
    fresh = [one for one in seen if one.found.trust_state != "trusted" and (one.names or one.beaten)]
    added = [one.document for one in documents if one.is_new]
    if (fresh or added) and not yes:
        if not can_ask():
            command = " ".join(["agentctl trust", *([shlex.quote(typed)] if typed else []), "--yes"])
            raise UsageError("confirmation needs a terminal; nothing was changed", hint=command)
        if not ask_yes_no("Trust this content until it changes?"):
            raise ActionDenied("not trusted; nothing was changed")
    store = TrustStore(here.state_dir)
    granted = [one.found.file for one in fresh] + [one.file for one in added]
    if granted:
        store.grant(granted, now=datetime.now(UTC))
    for file in granted:
        print_stderr(safe_text(f"trusted {file.path}"))
    if as_json:
        paths = {file.path for file in granted}
        listed = [
            {
                "path": str(one.found.file.path),
                "sha256": one.found.file.sha256,
                "names": [*one.names],
                "overruled": [*one.beaten],
                "trusted": one.found.trust_state == "trusted" or one.found.file.path in paths,
            }
            for one in seen
        ]
        listed += [
            {
                "path": str(one.document.file.path),
                "sha256": one.document.file.sha256,
                "names": [one.name],
                "overruled": [],
                "trusted": one.document.trust_state == "trusted" or one.document.file.path in paths,
            }
            for one in documents
        ]
        _print({"folder": str(folder), "files": listed, "changed": bool(granted)})


class _Preview(NamedTuple):
    """A document of the project: what it is called, what trusting it does, and whether it would be trusted now."""

    document: ProjectDocument
    name: str
    said: tuple[str, ...]
    is_new: bool = False


def _preview(document: ProjectDocument) -> _Preview:
    """Return what trusting a document would do; one that cannot be used is not trusted."""
    from agentctl.runner.agent_catalog import preview

    path = document.file.path
    if document.kind != "agent":
        return _preview_notes(document)
    read = preview(document)
    if read.agent is None:
        why = document.file.unread or document.file.doubt or (read.error.message if read.error else "")
        return _Preview(document, read.name, (f"{path} cannot be trusted: {why}",))
    if document.trust_state == "trusted":
        return _Preview(document, read.name, (f"{path} is already trusted",))
    changed = " has changed since it was trusted, and" if document.trust_state == "changed" else ""
    tools = ", ".join((*read.agent.tools, *read.agent.more)) or "no tools"
    said = (f"{path}{changed} would add the agent {read.name}, with its instructions and {tools}", *read.notes)
    return _Preview(document, read.name, said, is_new=True)


def _preview_notes(document: ProjectDocument) -> _Preview:
    """Return what trusting notes, or a skill, would do."""
    path = document.file.path
    name = path.parent.name if document.kind == "skill" else path.name
    if why := document.file.unread or document.file.doubt:
        return _Preview(document, name, (f"{path} cannot be trusted: {why}",))
    if document.trust_state == "trusted":
        return _Preview(document, name, (f"{path} is already trusted",))
    changed = " has changed since it was trusted, and" if document.trust_state == "changed" else ""
    what = "as notes" if document.kind == "notes" else f"as the skill {name}, when it needs it"
    size = len(document.file.text.encode("utf-8", "surrogateescape"))
    return _Preview(
        document, name, (f"{path}{changed} would be read by the model {what}: {size:,} bytes",), is_new=True
    )


def _folder(place: Path) -> tuple[Path, str]:
    """Return the real folder, and the file in it that was named ("" for all files).

    Raises:
        UsageError: the folder does not exist or cannot be read.
    """
    import os

    from agentctl.core.errors import UsageError
    from agentctl.settings.project_documents import PROJECT_FOLDER
    from agentctl.settings.project_files import MCP_FILE, PROJECT_FILES

    try:
        if place.is_dir():
            return Path(os.path.realpath(place)), ""
        if place.name in (*PROJECT_FILES, MCP_FILE) and place.parent.is_dir():
            return Path(os.path.realpath(place.parent)), place.name
        whole = place.absolute()
        if PROJECT_FOLDER in whole.parts[:-1] and whole.parent.is_dir():
            at = len(whole.parts) - 1 - whole.parts[::-1].index(PROJECT_FOLDER)
            return Path(os.path.realpath(Path(*whole.parts[:at]))), str(Path(*whole.parts[at:]))
    except (OSError, ValueError) as error:
        raise UsageError(f"{place} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    meant = {"list": "--list", "ls": "--list", "revoke": "--revoke", "remove": "--revoke"}.get(str(place))
    raise UsageError(f"no such folder: {place}", hint=f"did you mean: agentctl trust {meant}" if meant else "")


def _compare(found: FoundProjectFile, entries: Mapping[str, SettingEntry]) -> _Comparison:
    """Compare the settings of a file with ``entries``, the settings of all other sources.

    Raises:
        UsageError: the file cannot be trusted, or it holds an invalid setting.
    """
    from agentctl.core.errors import UsageError
    from agentctl.settings.project_files import problems_of, read_layer, weaker_than
    from agentctl.settings.provider_names import own_names
    from agentctl.settings.untrusted_files import consequences

    file = found.file
    _refuse_doubtful(found)
    layer, never = read_layer(file, "trusted project file")
    own = own_names(entries["providers"].value) if "providers" in entries else ()
    if wrong := problems_of(layer, own):
        raise UsageError(f"{file.path} cannot be trusted as it is: {wrong[0].text}", hint=wrong[0].hint)
    weaker = weaker_than(file.path)
    beaten = {
        name: str(entries[name].source)
        for name in layer.entries
        if name in entries and entries[name].source.kind not in weaker
    }
    used = {name: entry.name for name, entry in layer.entries.items() if name not in beaten}
    overridden = tuple(f"{layer.entries[name].name} ({by})" for name, by in beaten.items())
    return _Comparison(found, tuple(used.values()), consequences(used), overridden, never)


def _compare_servers(found: FoundProjectFile) -> _Comparison:
    """Return the MCP servers of a file.

    Raises:
        UsageError: the file cannot be trusted, or it is not JSON.
    """
    from agentctl.core.errors import UsageError
    from agentctl.settings import load_settings
    from agentctl.settings.mcp_project import servers_in, warnings_of

    _refuse_doubtful(found)
    try:
        servers = servers_in(found)
        loaded = load_settings(flags={}, remember=False, needs=())
        warnings = warnings_of(found, loaded)
    except UsageError as error:
        raise UsageError(f"{found.file.path} cannot be trusted as it is: {error.message}", hint=error.hint) from error
    return _Comparison(found, servers.names, (*servers.consequences, *warnings))


def _refuse_doubtful(found: FoundProjectFile) -> None:
    from agentctl.core.errors import UsageError

    file = found.file
    if file.unread or file.doubt:
        hint = file.hint or "only a text file that you own can be trusted"
        raise UsageError(f"{file.path} cannot be trusted: {file.unread or file.doubt}", hint=hint)


def _describe(seen: _Comparison) -> list[str]:
    from agentctl.settings.project_files import MCP_FILE

    path, trust_state = seen.found.file.path, seen.found.trust_state
    if trust_state == "trusted":
        return [f"{path} is already trusted"]
    is_servers = path.name == MCP_FILE
    if not seen.names and not seen.beaten:
        what = "MCP servers" if is_servers else "settings of agentctl"
        lines = [f"{path} has no {what}: nothing to trust"]
    else:
        changed = " has changed since it was trusted, and" if trust_state == "changed" else ""
        would = "add the MCP servers" if is_servers else "set"
        lines = [f"{path}{changed} would {would}: {', '.join(seen.names) or 'nothing now'}"]
        lines += [f"  {said}" for said in seen.effects]
    if seen.beaten:
        lines.append(f"  overridden by another source: {', '.join(seen.beaten)}")
    if seen.never:
        lines.append(f"  not allowed in a project file: {', '.join(seen.never)}")
    return lines


def _list(*, as_json: bool) -> None:
    from agentctl.settings.load import read_sources
    from agentctl.settings.trust_store import TrustStore

    records = sorted(TrustStore(read_sources().state_dir).records().values())
    if as_json:
        listed = [
            {
                "path": str(record.path),
                "sha256": record.sha256,
                "trusted_at": record.at,
                "state": record.state,
                "matches": record.state == "trusted",
            }
            for record in records
        ]
        _print({"trusted": listed})
        return
    from agentctl.cli.ui.columns import Column, stdout_page

    if not records:
        print("no trusted files")
        return
    cells = [(str(record.path), record.state, record.at) for record in records]
    print(stdout_page().table((Column("file", "line"), Column("state"), Column("trusted at", drop=1)), cells))


def _revoke(place: Path | None, *, as_json: bool) -> None:
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text
    from agentctl.settings.load import read_sources
    from agentctl.settings.trust_store import TrustStore

    gone = TrustStore(read_sources().state_dir).revoke(place)
    for path in gone:
        print_stderr(safe_text(f"no longer trusted: {path}"))
    if not gone:
        print_stderr(safe_text("nothing was trusted" if place is None else f"nothing in {place} was trusted"))
    if as_json:
        _print({"revoked": [str(path) for path in gone]})


def _print(document: Document) -> None:
    from agentctl.cli.documents import print_document

    print_document(SCHEMA, document)
