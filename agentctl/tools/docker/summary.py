"""A container in twenty lines: what ``inspect`` knows, without the noise and without secrets."""

from __future__ import annotations

from datetime import datetime

from agentctl.tools.docker.listings import ago, ports
from agentctl.tools.docker.responses import Doc, fields, many, moment, number, text, texts
from agentctl.tools.tables import cell, counted, facts, size, span


def summary(known: Doc, now: datetime) -> str:
    """Return the facts about a container in short; of its environment the names only."""
    state, config, host = fields(known, "State"), fields(known, "Config"), fields(known, "HostConfig")
    command = [text(known, "Path"), *texts(known, "Args")]
    restarts = text(host, "RestartPolicy", "Name") or "no"
    return facts(
        [
            ("name", name_of(known)),
            ("id", text(known, "Id")[:12]),
            ("image", text(config, "Image")),
            ("state", state_of(state, now)),
            ("exit code", None if state.get("Running") else number(state, "ExitCode")),
            ("out of memory", "yes: killed by the kernel" if state.get("OOMKilled") is True else "no"),
            ("error", text(state, "Error")),
            ("health", health_of(state)),
            ("restarts", f"{number(known, 'RestartCount')} (policy: {restarts})"),
            ("created", ago(moment(known, "Created"), now)),
            ("command", " ".join(part for part in command if part)),
            ("user", text(config, "User")),
            ("workdir", text(config, "WorkingDir")),
            ("ports", bindings_of(fields(known, "NetworkSettings", "Ports"))),
            ("mounts", "; ".join(_mount(entry) for entry in many(known, "Mounts"))),
            ("networks", ", ".join(_network(*pair) for pair in fields(known, "NetworkSettings", "Networks").items())),
            ("environment", ", ".join(sorted(name.partition("=")[0] for name in texts(config, "Env")))),
            ("limits", _limits(host)),
            ("privileged", "yes" if host.get("Privileged") is True else None),
            ("log driver", text(host, "LogConfig", "Type")),
        ]
    )


def name_of(known: Doc) -> str:
    """Return an inspected container's name without the slash."""
    return cell(text(known, "Name").removeprefix("/") or text(known, "Id")[:12])


def state_of(state: Doc, now: datetime) -> str:
    word = text(state, "Status") or "unknown"
    if state.get("Running") is True:
        began = moment(state, "StartedAt")
        return f"{word} for {span((now - began).total_seconds())}, pid {number(state, 'Pid')}" if began else word
    ended = moment(state, "FinishedAt")
    return f"{word}, ended {ago(ended, now)}" if ended else word


def health_of(state: Doc) -> str:
    word = text(state, "Health", "Status")
    if not word or word == "none":
        return ""
    checks = many(state, "Health", "Log")
    last = text(checks[-1], "Output").strip()[:120] if checks else ""
    said = f", last check said: {last}" if last else ""
    return f"{word}, {counted(number(state, 'Health', 'FailingStreak'), 'failure')} in a row{said}"


def bindings_of(published: Doc) -> str:
    listed: list[Doc] = []
    for inner, outer in published.items():
        port, _, kind = inner.partition("/")
        base = {"PrivatePort": int(port) if port.isdecimal() else 0, "Type": kind}
        bound = [entry for entry in outer if isinstance(entry, dict)] if isinstance(outer, list) else []
        for entry in bound or [{}]:
            outside = text(entry, "HostPort")
            listed.append(
                {**base, "PublicPort": int(outside or 0) if outside.isdecimal() else 0, "IP": text(entry, "HostIp")}
            )
    return ports(listed)


def _mount(entry: Doc) -> str:
    source = text(entry, "Name") if text(entry, "Type") == "volume" else text(entry, "Source")
    return f"{source or text(entry, 'Type')} -> {text(entry, 'Destination')}" + (
        "" if entry.get("RW") is True else " (read-only)"
    )


def _network(name: str, settings: object) -> str:
    addresses = [found for field in ("IPAddress", "GlobalIPv6Address") if (found := text(settings, field))]
    return " ".join([name, *addresses])


def _limits(host: Doc) -> str:
    memory, cpus, pids = number(host, "Memory"), number(host, "NanoCpus"), number(host, "PidsLimit")
    quota, period = number(host, "CpuQuota"), number(host, "CpuPeriod") or 100_000
    said = [
        f"memory {size(memory)}" if memory else "",
        f"cpus {cpus / 1e9:g}" if cpus else f"cpus {quota / period:g}" if quota > 0 else "",
        f"processes {pids}" if pids > 0 else "",
    ]
    return ", ".join(filter(None, said)) or "none"
