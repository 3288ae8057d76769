"""Parts of the tests of nested runs: a model whose command starts another run, and the trees in the ledger by SQL."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from tests.support import fork_server
from tests.support.bill.parts import Paid
from tests.support.wire.server import Answer, Call, WireRequest

ROOT = Path(__file__).parents[3]
OUTER, INNER = "Start another run.", "How much memory is used?"


def is_outer(asked: WireRequest) -> bool:
    """Whether a request is of the outer run."""
    return any(said.role == "user" and OUTER in said.text for said in asked.messages)


def inner(environ: Mapping[str, str], *words: str, into: str = "inner") -> str:
    """Return the shell's words for a run inside a command; what it prints and its exit code go to files."""
    agentctl = shlex.split(fork_server.command(loads="litellm"))
    variables = {"PYTHONPATH": str(ROOT), **environ}
    command = ["env", *(f"{name}={value}" for name, value in variables.items()), *agentctl]
    written = shlex.join([*command, "run", INNER, "--json", *words])
    return f"{written} > {into}.json 2> {into}.err; echo $? > {into}.code"


def starting(paid: Paid, command: str, *, then: Callable[..., Answer] | None = None) -> Callable[[WireRequest], Answer]:
    """Return the mind of a model that runs ``command`` once in the outer run, and looks for ever in every other."""

    def mind(asked: WireRequest) -> Answer:
        if not is_outer(asked):
            return paid.busy(asked)
        if any(said.role == "tool" for said in asked.messages):
            return paid.answer("It has ended.") if then is None else then(asked)
        return paid.answer("Starting it.", (Call("run_shell", {"command": command, "timeout": 120}),))

    return mind


def scopes(state: Path) -> dict[str, str | None]:
    """Return each run of a ledger with its parent."""
    with closing(sqlite3.connect(state / "ledger.db")) as db:
        return dict(db.execute("SELECT id, parent_id FROM scopes ORDER BY rowid"))
