"""``agentctl mcp serve``: let another program, the host, run tasks by the Model Context Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.options import Config, EnvFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from agentctl.cli.mcp.served_runs import ServeTerms
    from agentctl.settings import Loaded

_RUNS, _LIMITS = "Runs", "Limits"


def serve(
    max_cost: Annotated[
        str | None,
        typer.Option(
            "--max-cost",
            metavar="USD",
            help="Limit the cost of all runs of this server together (default 0.50; 'none' disables).",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    default_max_cost: Annotated[
        str | None,
        typer.Option(
            "--default-max-cost",
            metavar="USD",
            help="Limit a run whose call names no limit (default: each call must).",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option("--provider", metavar="NAME", help="Use only this provider.", rich_help_panel=_RUNS),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", metavar="NAME", help="Use only this model.", rich_help_panel=_RUNS),
    ] = None,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="NAME", help="Use only this agent.", rich_help_panel=_RUNS)
    ] = None,
    workdir: Annotated[
        str | None,
        typer.Option(
            "--workdir", metavar="DIR", help="Work in this folder (default: the current one).", rich_help_panel=_RUNS
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Change nothing, whatever a call says.", rich_help_panel=_RUNS)
    ] = False,
    http: Annotated[
        str | None,
        typer.Option(
            "--http",
            metavar="HOST:PORT",
            help="Serve at this address of this machine instead, for hosts that show the token.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the mcpServers JSON for a host, and serve nothing.")
    ] = False,
    config: Config = None,
    env_file: EnvFile = None,
) -> None:
    """Serve agentctl as an MCP server on stdin and stdout, for another program: a host.

    Its tools: run_task, costs, budget, runs_show. When the host goes away, its runs stop.

    Examples:
        agentctl mcp serve --max-cost 2 --print-config
        agentctl mcp serve --max-cost 2 --default-max-cost 0.25
    """
    from pathlib import Path

    from agentctl.cli.mcp.served_runs import ServeTerms, load
    from agentctl.tools.mcp.sdk_loader import check_installed

    given: dict[str, object | None] = {
        "llm_provider": provider,
        "llm_model": model,
        "agent": agent,
        "workdir": workdir,
        "read_only": read_only or None,
    }
    flags = {name: value for name, value in given.items() if value is not None}
    by_default = None if default_max_cost is None else _dollars("--default-max-cost", default_max_cost)
    if http is not None:
        from agentctl.cli.mcp.served_http import parse_address

        parse_address(http)  # report a wrong one before anything else
    terms = ServeTerms(flags, None, by_default, config, tuple(env_file or ()))
    loaded = load(terms)
    most = loaded.settings.max_cost_per_task if max_cost is None else _dollars("--max-cost", max_cost, can_lift=True)
    terms = terms._replace(max_cost=most)
    check_installed()
    if print_config and http is not None:
        _print_address(http)
        return
    if print_config:
        words = {"--max-cost": max_cost, "--default-max-cost": default_max_cost, "--provider": provider}
        words |= {
            "--model": model,
            "--agent": agent,
            "--config": config if config is None else str(Path(config).absolute()),
        }
        _print_config(loaded, words, workdir, read_only=read_only, env_files=env_file or ())
        return
    _serve(terms, loaded, http)


def _serve(terms: ServeTerms, loaded: Loaded, http: str | None) -> None:
    """Serve the host on stdin and stdout until it goes away, or hosts at an address until a signal comes."""
    import sys

    from agentctl.cli.error_output import print_stderr
    from agentctl.cli.mcp.served_runs import ServedRuns, open_scope
    from agentctl.cli.mcp.served_stdio import Wire, kept_aside, serve_stdio
    from agentctl.cli.mcp.served_tools import ServedTools
    from agentctl.cli.signals import run_cancellable
    from agentctl.core.redaction import redact
    from agentctl.core.text import safe_text
    from agentctl.settings.key_exposure import protect_keys
    from agentctl.tools.mcp.sdk_loader import load_sdk

    if http is None and sys.stdin.isatty():
        print_stderr("agentctl waits for a host on stdin; to set one up: agentctl mcp serve --print-config")
    protect_keys()  # a command of a model could read them

    def notify(said: str) -> None:
        print_stderr(safe_text(redact(said, loaded.secrets)))

    async def within(wire: Wire) -> None:
        await load_sdk()
        async with open_scope(loaded, terms.max_cost) as scope:
            notify(f"agentctl serves MCP; what its runs cost: agentctl costs --run {scope.parent.run_id}")
            tools = ServedTools(terms, ServedRuns(terms, scope, notify))
            if http is None:
                await serve_stdio(tools, wire)
                return
            from agentctl.cli.mcp.served_http import parse_address, read_token, serve_http
            from agentctl.settings.names import SERVE_TOKEN

            given = next((found[SERVE_TOKEN] for found in loaded.variables if found.get(SERVE_TOKEN)), None)
            token, place = read_token(given, loaded.settings.state_dir)
            await serve_http(
                tools,
                parse_address(http),
                token,
                lambda at: notify(f"listens at {at.url}; hosts show the token of {place}"),
            )

    with kept_aside() as wire:
        run_cancellable(lambda: within(wire))


def _print_config(
    loaded: Loaded, words: Mapping[str, str | None], workdir: str | None, *, read_only: bool, env_files: Sequence[str]
) -> None:
    """Print what a host needs to start this server with these flags, in this folder."""
    import shutil
    import sys
    from pathlib import Path

    from agentctl.cli.documents import as_json

    program = shutil.which("agentctl") or str(Path(sys.argv[0]).absolute())
    given = [word for flag, value in words.items() if value is not None for word in (flag, value)]
    given += [word for name in env_files for word in ("--env-file", str(Path(name).absolute()))]
    given += ["--read-only"] if read_only else []
    folder = str(Path(workdir or ".").expanduser().absolute())
    # Another agentctl would start it in a sandbox, where the ledger is not visible; other hosts ignore that key.
    entry: dict[str, object] = {
        "command": str(Path(program).absolute()),
        "args": ["mcp", "serve", *given, "--workdir", folder],
        "agentctl": {"sandbox": "none"},
    }
    folders = {"AGENTCTL_STATE_DIR": "state_dir", "AGENTCTL_CONFIG_DIR": "config_dir"}
    moved = {
        variable: str(getattr(loaded.settings, name))
        for variable, name in folders.items()
        if loaded.sources[name].kind != "default"
    }
    print(as_json({"mcpServers": {"agentctl": {**entry, **({"env": moved} if moved else {})}}}))


def _print_address(http: str) -> None:
    """Print what a host needs to reach this server at an address."""
    from agentctl.cli.documents import as_json
    from agentctl.cli.mcp.served_http import parse_address
    from agentctl.settings.names import SERVE_TOKEN

    headers = {"Authorization": f"Bearer ${{{SERVE_TOKEN}}}"}
    entry = {"type": "http", "url": parse_address(http).url, "headers": headers}
    print(as_json({"mcpServers": {"agentctl": entry}}))


def _dollars(flag: str, text: str, *, can_lift: bool = False) -> Decimal | None:
    """Return an amount; None for ``none``, where it can lift the limit.

    Raises:
        UsageError: it is no amount.
    """
    from agentctl.core.errors import UsageError
    from agentctl.settings.parsers import dollars

    try:
        found = dollars(text)
    except ValueError:
        found = None
    else:
        if found is None and can_lift:
            return None
    if found is None:
        raise UsageError(f'{flag} "{text}" is not an amount in dollars (0 or more)', hint=f"for example: {flag} 2")
    return found
