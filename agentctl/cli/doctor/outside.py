"""Questions to others: the provider, the container engine, the sandbox. None of them costs anything."""

from __future__ import annotations

from pathlib import Path

import anyio

from agentctl.cli.doctor.findings import Finding, missing, ok, warning
from agentctl.core.errors import EngineUnavailable
from agentctl.providers.endpoints import base_url_of, is_own_host
from agentctl.settings import Loaded, ProviderChoice, Settings

PATIENCE_S = 2.0


def provider(loaded: Loaded, choice: ProviderChoice, *, offline: bool) -> tuple[Finding, ...]:
    """Ask whether the provider is there, takes the key and knows the model; a free question, never a paid call."""
    about = "provider"
    if choice.provider == "builtin":
        return (ok(about, "builtin answers in this process"),)
    url = base_url_of(loaded.settings, choice.provider)
    again = f"agentctl providers test --free {choice.provider}"
    if offline and not is_own_host(url):
        return (ok(about, f"{choice.provider} was not asked (--offline)"),)
    from agentctl.providers.probe import reach

    stored = loaded.settings.key_of(choice.provider)
    key = None if stored is None else stored.get_secret_value()
    found = reach(choice.provider, url, key, choice.model, patience_s=PATIENCE_S)
    if found.reachable is None:
        return (ok(about, f"{choice.provider} cannot be asked for nothing: only a call would tell"),)
    if found.status == "done":
        said = [f"{found.base_url} answers ({found.ms:.0f} ms)"]
        said += ["takes the key"] if found.key == "accepted" else []
        said += [f"knows {choice.model}"] if found.model_known else []
        return (ok(about, ", ".join(said)),)
    said_so, _, hint = found.error.rpartition(": ")
    if found.status == "rate_limited":
        return (warning(about, said_so or found.error, again),)
    paste = {
        "auth": f"agentctl providers set-key {choice.provider}",
        "model_gone": f"ollama pull {choice.model}" if choice.provider == "ollama" else "agentctl providers list",
    }.get(found.status, "ollama serve" if choice.provider == "ollama" else again)
    return (missing(about, found.error if hint != paste else said_so, paste, stops=True),)


def engine(loaded: Loaded, *, offline: bool) -> tuple[Finding, ...]:
    """Ask the container engine for its version."""
    from agentctl.tools.docker.client import parse_address

    source = loaded.sources["docker_host"]
    named_by = str(source) if source.kind == "docker context" else "DOCKER_HOST"
    try:
        address = parse_address(loaded.settings.docker_host, named_by)
        if offline and address.url and not is_own_host(address.url):
            return (ok("engine", f"{address} was not asked (--offline)"),)
        version = anyio.run(_version, loaded.settings.docker_host, named_by)
    except EngineUnavailable as error:
        return (missing("engine", f"for container tasks: {error.message}", error.hint),)
    return (ok("engine", f"{version} at {address}"),)


async def _version(docker_host: str | None, named_by: str) -> str:
    from agentctl.tools.docker.engine import DockerEngine

    engine = DockerEngine(docker_host, named_by=named_by, patience=PATIENCE_S)
    try:
        said = await engine.get("version")
    finally:
        await engine.aclose()
    fields = said if isinstance(said, dict) else {}
    platform = fields.get("Platform")
    name = platform.get("Name") if isinstance(platform, dict) else None
    return f"{name or 'an engine'} {fields.get('Version', '?')}, API {fields.get('ApiVersion', '?')}"


def sandbox(settings: Settings, source: str, workspace: Path) -> tuple[Finding, ...]:
    """Try out the boundary of shell commands, as a run would get it."""
    about = "sandbox"
    if settings.sandbox == "none":
        said = f"sandbox is none ({source}): commands of a model run without a boundary"
        return (warning(about, said, "agentctl run --sandbox auto …"),)
    stops = settings.sandbox == "bwrap"
    try:
        tier, reason, hint, weaker = anyio.run(_sandbox_here, workspace, settings.network)
    except TimeoutError:
        return (warning(about, f"trying the boundary out took longer than {PATIENCE_S:g} s", "agentctl doctor"),)
    if tier == "none":
        return (missing(about, f"{reason}; a model is offered no tool that runs commands", hint, stops=stops),)
    network = "with" if settings.network else "without"
    said = f"{tier} holds; commands of a model run in it, {network} network"
    return (ok(about, "; ".join((said, *weaker))),)


async def _sandbox_here(workspace: Path, network: bool) -> tuple[str, str, str, tuple[str, ...]]:
    """Return the sandbox that can be had here ("none": none), why no better one, what to do, and its missing parts."""
    from agentctl.sandbox.select import examine

    with anyio.fail_after(PATIENCE_S):
        tier, reason, hint, weaker = await examine(workspace, network=network)
    return tier or "none", reason, hint, weaker
