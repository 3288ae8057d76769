"""The checks of ``agentctl doctor``, one function per subject; each returns its findings and is free."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from agentctl.cli.doctor.findings import Finding, missing, ok, warning
from agentctl.cli.ui.format import ceiling, money
from agentctl.core.errors import LIMIT_NAMES, AuthFailed, EngineUnavailable, StateError, UsageError
from agentctl.core.ledger_address import LedgerAddress
from agentctl.core.limits import WINDOWS
from agentctl.core.pricing import ModelFacts, Price, price_command, to_nano
from agentctl.core.text import list_names, nearest
from agentctl.providers.catalog import load_catalog
from agentctl.providers.endpoints import access_of, base_url_of, is_official, is_own_host, kind_of, public_url
from agentctl.providers.routes import choose_client
from agentctl.sandbox.promises import lines_for
from agentctl.settings import KEY_NAMES, Loaded, ProviderChoice, Settings
from agentctl.settings.host import other_provider_key_name
from agentctl.settings.own_files import is_there

if TYPE_CHECKING:
    from agentctl.sandbox.select import SandboxStatus

PROJECT_FILES = (".env", ".agentctl.toml")
LITTLE_SPACE = 100 * 1024**2
OLD_DAYS = 180  # of the price table
PATIENCE_S = 2.0
_WARN_SHARE = Decimal("0.8")
_MOVE = "export AGENTCTL_STATE_DIR=/a/local/folder"


def check_settings(loaded: Loaded, notes: Sequence[str]) -> tuple[Finding, ...]:
    """Report where the settings come from, and which of them have no effect."""
    places = (loaded.config_file, loaded.settings.config_dir / ".env")
    files = [str(path) for path in places if is_there(path)]
    changed = sum(source.kind != "default" for source in loaded.sources.values())
    values = f"{changed} changed from the defaults" if changed else "all defaults"
    message = f"valid; {values}, " + (f"files: {' and '.join(files)}" if files else "no config file")
    lines = [note for note in notes if not _is_about_the_project(note, loaded)]
    valid = () if loaded.set_aside else (ok("settings", message),)
    return (*(warning("settings", line, "agentctl config show") for line in lines), *valid)


def check_project_files(loaded: Loaded, notes: Sequence[str]) -> tuple[Finding, ...]:
    """Report which settings of the untrusted files in the working directory are ignored, and other notes on them."""
    found: list[Finding] = []
    for place in dict.fromkeys(line.place for line in loaded.ignored):
        lines = [line for line in loaded.ignored if line.place == place]
        names = ", ".join(line.name for line in lines)
        found.append(warning("project files", f"{place} is not trusted; ignored: {names}", lines[0].remedy))
    relevant = [note for note in notes if _is_about_the_project(note, loaded) and " is not trusted" not in note]
    found += [warning("project files", note) for note in relevant]
    return tuple(found) or (ok("project files", "none here that would change a setting"),)


def _is_about_the_project(note: str, loaded: Loaded) -> bool:
    folder = loaded.settings.workdir
    places = [f"./{name}" for name in PROJECT_FILES]
    places += [os.fspath(folder / name) for name in PROJECT_FILES] if folder else []
    return any(place in note for place in places)


def check_key(loaded: Loaded, choice: ProviderChoice) -> tuple[Finding, ...]:
    """Report where the key comes from and whether other users can change it; never the key itself."""
    if (own := loaded.settings.named(choice.provider)) is not None:
        said = f"{own.key_name} is not set; {public_url(own.base_url)} may need none"
        if own.key is not None:
            where = own.key_source if not own.key_source.startswith("environment") else "environment"
            said = f"{own.key_variable} is set ({where})"
        open_ = _open_to_others(loaded.settings.config_dir, "key", 0o022, "other users can write to")
        return (ok("key", said), *open_)
    name = KEY_NAMES.get(choice.provider)
    field = f"{choice.provider}_api_key"
    found: list[Finding] = []
    if name is None:
        found.append(_check_other_key(choice.provider))
    elif loaded.settings.key_of(choice.provider) is None and not is_official(
        choice.provider, url := base_url_of(loaded.settings, choice.provider)
    ):
        found.append(ok("key", f"{name} is not set; {public_url(url)} may need none"))
    elif loaded.settings.key_of(choice.provider) is None:
        found.append(warning("key", f"{name} is not set", f"agentctl providers set-key {choice.provider}"))
    else:
        source = loaded.sources[field]
        where = source.kind if source.kind == "environment" else str(source)
        found.append(ok("key", f"{loaded.names.get(field, name)} is set ({where})"))
    found += [warning("key", f"{empty} is set but empty", f"unset {empty}") for empty in loaded.empty_keys]
    return (*found, *_open_to_others(loaded.settings.config_dir, "key", 0o022, "other users can write to"))


def check_fallbacks(loaded: Loaded, choice: ProviderChoice) -> tuple[Finding, ...]:
    """Report which fallbacks could take over a run, and which cannot; a wrong name keeps a run from starting."""
    from agentctl.providers.fallback_choice import choose_fallbacks  # most users have none

    try:
        usable, left_out = choose_fallbacks(loaded, choice)
    except UsageError as error:
        return (missing("fallbacks", error.message, error.hint, stops=True),)
    found = [warning("fallbacks", f"{name}: {error.message}", error.hint) for name, error in left_out.items()]
    names = ", ".join(f"{one.provider}/{one.model}" for one in usable.values())
    return (*([ok("fallbacks", f"if {choice.provider} fails: {names}")] if names else []), *found)


def _check_other_key(provider: str) -> Finding:
    """Report whether there is a key of a provider whose key agentctl does not store."""
    if name := other_provider_key_name(provider):
        return ok("key", f"{name} is set (environment)")
    lacking = None if provider in ("builtin", "ollama") else access_of(provider, None, "").missing
    if isinstance(lacking, AuthFailed) and choose_client(provider) == "lean":
        return warning("key", lacking.message, lacking.hint or "")
    return ok("key", f"{provider} needs no key")


def _open_to_others(folder: Path, subject: str, bits: int, message: str) -> tuple[Finding, ...]:
    try:
        found = folder.stat()
    except OSError:
        return ()
    if not stat.S_IMODE(found.st_mode) & bits or (bits == 0o022 and found.st_mode & stat.S_ISVTX):
        return ()
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    return (warning(subject, f"{message} {folder} (mode {mode})", f"chmod 700 {shlex.quote(os.fspath(folder))}"),)


def check_state_folder(folder: Path) -> tuple[Finding, ...]:
    """Write and remove a temporary file in the folder of the ledger and the journals, or in its nearest parent."""
    from agentctl.ledger.database import file_system, is_networked  # brings SQLite

    subject = "state folder"
    there = _nearest(folder)
    shown = str(folder) if there == folder else f"{folder} (does not exist yet)"
    kind = file_system(there)
    if is_networked(kind):
        message = f"{shown} is on a network file system ({kind}), which can damage the ledger"
        return (missing(subject, message, _MOVE, stops=True),)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0" * 4096)
            file.flush()
        free = shutil.disk_usage(there).free
    except OSError as error:
        why = (error.strerror or "not possible").lower()
        return (missing(subject, f"{shown} cannot be written: {why}", _writable_hint(folder, error), stops=True),)
    found = list(_open_to_others(folder, subject, 0o077, "other users can read"))
    if free < LITTLE_SPACE:
        found.append(warning(subject, f"{free // 1024**2:,} MB free on the disk of {shown}", _MOVE))
    return tuple(found) or (ok(subject, f"{shown} is writable; {free / 1024**3:,.1f} GB free"),)


def _writable_hint(folder: Path, error: OSError) -> str:
    quoted = shlex.quote(os.fspath(folder))
    return f'sudo chown -R "$(id -u)" {quoted}' if isinstance(error, PermissionError) and folder.exists() else _MOVE


def _nearest(folder: Path) -> Path:
    """Return ``folder`` or its nearest parent that exists."""
    return next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))


def check_ledger(path: LedgerAddress) -> tuple[Finding, ...]:
    """Open the ledger, check it for at most a second, test writing, and report the last charge."""
    from agentctl.ledger.inspection import inspect_ledger  # brings SQLite

    subject = "ledger"
    try:
        found = inspect_ledger(path)
    except StateError as error:
        return (missing(subject, error.message, error.hint, stops=True),)
    if not found.there:
        return (ok(subject, f"{path} does not exist yet; the first run creates it"),)
    if found.damage:
        hint = f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.damaged')}"
        return (missing(subject, f"{path} is damaged: {found.damage}", hint, stops=True),)
    last = "no charge yet"
    if found.last_at is not None:
        last = f"last charge {found.last_at:%Y-%m-%d %H:%M} UTC, {found.last_model}"
    if found.busy:
        return (warning(subject, f"{path} is being written by another process; {last}", "agentctl doctor"),)
    checked = "consistent" if found.checked else "too large to check in a second"
    return (ok(subject, f"{path} is readable, {checked}, writable; {last}"),)


def check_provider(loaded: Loaded, choice: ProviderChoice, *, offline: bool) -> tuple[Finding, ...]:
    """Ask the provider whether it accepts the key and knows the model; a free request, never a paid call."""
    subject = "provider"
    if choice.provider == "builtin":
        return (ok(subject, "builtin runs in this process"),)
    url = base_url_of(loaded.settings, choice.provider)
    again = f"agentctl providers test --free {choice.provider}"
    if offline and not is_own_host(url):
        return (ok(subject, f"{choice.provider} was not asked (--offline)"),)
    from agentctl.providers.probe import probe_provider  # builtin makes no request

    stored = loaded.settings.key_of(choice.provider)
    key = None if stored is None else stored.get_secret_value()
    kind = kind_of(loaded.settings, choice.provider)
    found = probe_provider(choice.provider, url, key, choice.model, patience_s=PATIENCE_S, kind=kind, window=True)
    if found.reachable is None:
        return (ok(subject, f"{choice.provider} has no free request; only a paid call would test it"),)
    if found.status == "done":
        facts = [f"{found.base_url} answers ({found.ms:.0f} ms)"]
        facts += ["accepts the key"] if found.key == "accepted" else []
        facts += [f"knows {choice.model}"] if found.model_known else []
        facts += [f"its window is {found.context_window:,} tokens"] if found.context_window else []
        if found.models and found.model_known is None and choice.model is not None:
            facts.append(f"lists {list_names(found.models, 3)} and not {choice.model}: a server may answer to any name")
        return (ok(subject, ", ".join(facts)),)
    if found.status == "model_gone" and found.models and not is_official(kind, url):
        message = f"{found.base_url} does not know the model {choice.model}; it has: {list_names(found.models)}"
        name = nearest(choice.model or "", found.models) or found.models[0]
        return (missing(subject, message, f"agentctl run --model {choice.provider}/{name} TASK", stops=True),)
    message, _, hint = found.error.rpartition(": ")
    if found.status == "rate_limited":
        return (warning(subject, message or found.error, again),)
    paste = {
        "auth": f"agentctl providers set-key {choice.provider}",
        "model_gone": f"ollama pull {choice.model}" if kind == "ollama" else "agentctl providers list",
    }.get(found.status, "ollama serve" if kind == "ollama" and is_own_host(url) else again)
    return (missing(subject, found.error if hint != paste else message, paste, stops=True),)


def check_engine(loaded: Loaded, *, offline: bool) -> tuple[Finding, ...]:
    """Ask the container engine for its version and report it."""
    from agentctl.tools.docker.client import parse_address

    source = loaded.sources["docker_host"]
    named_by = str(source) if source.kind == "docker context" else "DOCKER_HOST"
    try:
        address = parse_address(loaded.settings.docker_host, named_by)
        if offline and address.url and not is_own_host(address.url):
            return (ok("engine", f"{address} was not asked (--offline)"),)
        version = anyio.run(_version, loaded.settings.docker_host, named_by)
    except EngineUnavailable as error:
        return (missing("engine", f"{error.message.rstrip('.')} (only container tasks need it)", error.hint),)
    return (ok("engine", f"{version} at {address}"),)


async def _version(docker_host: str | None, named_by: str) -> str:
    from agentctl.tools.docker.client import DockerEngine

    engine = DockerEngine(docker_host, named_by=named_by, patience=PATIENCE_S)
    try:
        fields = await engine.version()
        product = engine.product
    finally:
        await engine.aclose()
    platform = fields.get("Platform")
    name = platform.get("Name") if isinstance(platform, dict) else None
    if product.program != "docker" or not name:
        name = product.name  # Podman's platform is the machine's
    return f"{name} {fields.get('Version', '?')}, API {fields.get('ApiVersion', '?')}"


def check_sandbox(settings: Settings, source: str, workspace: Path) -> tuple[Finding, ...]:
    """Test the sandbox for shell commands that a run would get, and report which promises it keeps."""
    subject = "sandbox"
    if settings.sandbox == "none":
        message = f"sandbox is none ({source}): commands of a model run without a sandbox"
        return (warning(subject, message, "agentctl run --sandbox auto TASK", lines_for("none")),)
    if settings.sandbox == "external":
        message = f"sandbox is external ({source}): this machine is the sandbox; commands of a model run in it unasked"
        return (ok(subject, message),)
    try:
        found = anyio.run(_sandbox_here, settings, workspace)
    except TimeoutError:
        return (warning(subject, f"testing the sandbox took longer than {PATIENCE_S:g} s", "agentctl doctor"),)
    if found.tier is None:
        message = f"{found.reason}; tools that run commands are not offered to a model"
        return (missing(subject, message, found.hint, stops=settings.requires_sandbox),)
    network = "with" if settings.network else "without"
    message = f"{found.tier} works; commands of a model run in it, {network} network"
    stronger = (f"not {failure.tier}: {failure.reason}" for failure in found.failures)
    message, details = "; ".join((message, *stronger, *found.missing)), lines_for(found.tier)
    if found.failures:
        return (warning(subject, message, found.failures[0].hint, details),)
    return (ok(subject, message, details),)


async def _sandbox_here(settings: Settings, workspace: Path) -> SandboxStatus:
    from agentctl.sandbox.select import examine  # brings subprocess

    with anyio.fail_after(PATIENCE_S):
        return await examine(
            workspace,
            wanted=settings.sandbox,
            network=settings.network,
            readable=settings.sandbox_read,
            writable=settings.sandbox_write,
        )


def check_hooks(settings: Settings) -> tuple[Finding, ...]:
    """Report the hooks, and those whose program cannot be started: these deny every call that they match."""
    found = []
    for number, hook in enumerate(settings.hook, 1):
        program, subject = hook.command[0], f"hook {number}"
        quoted = shlex.quote(program)
        if not os.path.isfile(program):  # noqa: PTH113 - a name that is too long is no file
            found.append(missing(subject, f"{hook}: there is no file {program}", "agentctl help hooks"))
        elif not os.access(program, os.X_OK):
            found.append(missing(subject, f"{hook}: {program} cannot be executed", f"chmod u+x {quoted}"))
        elif (facts := Path(program).stat()).st_uid not in (0, os.geteuid()):
            said = f"{hook}: {program} belongs to another user (uid {facts.st_uid})"
            found.append(warning(subject, said, f'sudo chown "$(id -u)" {quoted}'))
        elif facts.st_mode & 0o022:
            found.append(warning(subject, f"{hook}: other users can write to {program}", f"chmod go-w {quoted}"))
        else:
            found.append(ok(subject, str(hook)))
    return tuple(found)


def check_price(facts: ModelFacts) -> tuple[Finding, ...]:
    """Report the price of the model, or that it is unknown (under a dollar limit, a run refuses that earlier)."""
    if not facts.metered:
        return (ok("price", f"{facts.provider} is free"),)
    name, found = f"{facts.provider}/{facts.model}", facts.price
    window = f", {facts.context_window:,} tokens of context" if facts.context_window else ""
    if found is None:
        message = f"the price of {name} is unknown, and no dollar limit is set: its cost is not counted"
        return (warning("price", message, f"set its prices: {price_command(name)}"),)
    if _is_free(found):
        return (ok("price", f"{name} is free{window}"),)
    message = f"{name} costs {_dollars(found.input)} in, {_dollars(found.output)} out per million tokens{window}"
    return (ok("price", f"{message} ({found.source})"),)


def _is_free(found: Price) -> bool:
    return not (found.input or found.output)


def check_price_table(loaded: Loaded, today: date) -> tuple[Finding, ...]:
    """Report which price table is used and its age."""
    catalog = load_catalog(loaded.settings.price_lines)
    subject = "price table"
    try:
        version, days = catalog.version, catalog.age_days(today)
    except StateError as error:
        return (missing(subject, error.message, error.hint),)
    own = f", and {len(loaded.settings.prices)} prices of your own" if loaded.settings.prices else ""
    if days is None:
        message = f"{version}{own}: not the version that agentctl was tested with; its age is unknown"
        return (warning(subject, message, "reinstall agentctl with its pinned dependencies"),)
    if days > OLD_DAYS:
        message = f"{version}, {days} days old{own}: prices may have changed"
        return (warning(subject, message, "upgrade agentctl, or set prices in config.toml: agentctl help setup"),)
    return (ok(subject, f"{version}, {days} days old{own}"),)


def check_limits(loaded: Loaded, facts: ModelFacts | None) -> tuple[Finding, ...]:
    """Report which limits apply, what lowered them, and whether the hour has room left."""
    settings = loaded.settings
    used = _hour_used(loaded)
    task, hour = _dollars(settings.max_cost_per_task), _dollars(settings.max_cost_per_hour)
    tokens = "none" if settings.max_tokens_per_task is None else f"{settings.max_tokens_per_task:,}"
    spent = "" if used is None or used == 0 else f" ({money(used)} of it used)"
    others = {name.rpartition("_")[2]: getattr(settings, name) for name in WINDOWS if name != "max_cost_per_hour"}
    more = "".join(f", {name} {_dollars(most)}" for name, most in others.items() if most is not None)
    message = f"task {task}, hour {hour}{spent}{more}, {tokens} tokens per task"
    set_by = [f"{name} by {loaded.tightened[name]}" for name in LIMIT_NAMES if name in loaded.tightened]
    message += f"; lowered: {', '.join(set_by)}" if set_by else ""
    costs = facts is not None and facts.metered and not (facts.price is not None and _is_free(facts.price))
    dollars = (settings.max_cost_per_task, settings.max_cost_per_hour, *others.values())
    if costs and all(most is None for most in dollars):
        return (warning("limits", f"{message}: the cost is not limited", "agentctl run --max-cost 0.50 TASK"),)
    if settings.max_cost_per_hour is not None and used is not None and costs:
        most = to_nano(settings.max_cost_per_hour)
        raised = f"agentctl run --max-cost-per-hour {2 * settings.max_cost_per_hour or 10:f} TASK"
        if used >= most:
            return (missing("limits", f"{message}: the limit of the hour is used up", raised, stops=True),)
        if used >= _WARN_SHARE * most:
            return (warning("limits", f"{message}: the limit of the hour is nearly used up", raised),)
    if loaded.ci:
        return (ok("limits", f"{message}; CI is set: the hour covers this runner only"),)
    return (ok("limits", message),)


def _dollars(value: Decimal | None) -> str:
    return "none" if value is None else ceiling(to_nano(value))


def _hour_used(loaded: Loaded) -> int | None:
    """Return what counts against the hour in nano-dollars, None if the ledger cannot be read."""
    from agentctl.ledger.report import costs_window  # brings SQLite

    try:
        return costs_window(loaded.settings.ledger_address, seconds=3600).hour.total
    except StateError:
        return None
