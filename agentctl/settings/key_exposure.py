"""Hide the keys in this process's memory from the commands that it starts.

A command without a sandbox runs as the same user. It can read the environment that agentctl was started with in
``/proc/PID/environ``, whatever was changed in ``os.environ`` since, and everything else in ``/proc/PID/mem``. Two
measures apply, only in the process of the command line, since a library must not change its host:

- The secret values of the first environment are overwritten where the kernel shows them. ``os.environ`` keeps its own
  copies, so that everything in Python goes on as before; ``getenv`` in C finds an empty value.
- The process is made undumpable. The kernel then gives its memory, environment and open files to root only.

Against a command that runs as root only the first one helps: root can read all memory.
"""

from __future__ import annotations

import os
import re
import sys
from typing import NamedTuple

from agentctl.settings.names import ENV_NAMES, PARENT_CAPABILITY, SECRET_FIELDS

_OURS = frozenset(
    {PARENT_CAPABILITY, *ENV_NAMES["ledger"], *(name for field in SECRET_FIELDS for name in ENV_NAMES[field])}
)
# Secrets of other programs: keys of litellm's other providers, of a cloud, a database or a registry.
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:\w*KEY|KEY_\w+|TOKENS?|\w*SECRETS?\w*|PASS|\w*PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH|PAT|DSN)(?:_|$)|_PWD$|OTLP_\w*HEADERS$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(rb"://[^/@\s:]*:[^/@\s]+@")  # a password in an address
_PR_SET_DUMPABLE = 4
_ENV_START, _ENV_END = 47, 48  # in /proc/self/stat, counted from the state
_MOST_BYTES = 8 * 1024 * 1024  # the kernel accepts fewer arguments


class EnvironmentSpan(NamedTuple):
    """A secret value in a block of ``NAME=value`` strings: its offset and length."""

    start: int
    size: int


def protect_keys() -> None:
    """Make the keys of this process unreadable for the processes that it starts, as far as the system allows.

    Call it once, before the first command of a model. Takes effect on Linux only. Later calls do no harm.
    """
    if sys.platform != "linux":
        return
    from ctypes import CDLL, c_ulong, memset  # noqa: PLC0415 - takes milliseconds, and an answer of builtin needs none

    # In this order: an undumpable process of an ordinary user cannot open its own /proc/self/environ.
    address, block = _first_environment()
    for start, size in secret_spans(block):
        memset(address + start, 0, size)
    CDLL(None).prctl(_PR_SET_DUMPABLE, c_ulong(0), c_ulong(0), c_ulong(0), c_ulong(0))


def secret_spans(block: bytes) -> tuple[EnvironmentSpan, ...]:
    """Return the places of the secret values in an environment block, without the empty ones."""
    spans, start = [], 0
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and value and _is_secret(os.fsdecode(name), value):
            spans.append(EnvironmentSpan(start + len(name) + 1, len(value)))
        start += len(entry) + 1
    return tuple(spans)


def _is_secret(name: str, value: bytes) -> bool:
    return name in _OURS or _SECRET_NAME.search(name) is not None or _SECRET_VALUE.search(value) is not None


def _first_environment() -> tuple[int, bytes]:
    """Return the address and the bytes of the environment that this process was started with.

    No bytes if the kernel does not show it.
    """
    try:
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123 - as bytes
            line = file.read()
        fields = line[line.rfind(b")") + 2 :].split()
        start, end = int(fields[_ENV_START]), int(fields[_ENV_END])
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - as bytes
            block = file.read(_MOST_BYTES)
    except (OSError, ValueError, IndexError):
        return 0, b""
    # The kernel has read these addresses, so they are mapped; a block of another length is another block.
    return (start, block) if start and len(block) == end - start else (0, b"")
