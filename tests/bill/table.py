"""The table of docs/budget.md: what a provider billed, what was recorded, and the limit; beside it a bare litellm loop.

``python -m tests.bill.table`` prints it as Markdown, after real runs of both against the same server; ``--full`` adds
fifty processes, and each scenario with the ledger on a PostgreSQL server; ``--only WORDS`` takes the scenarios that
begin so.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from agentctl.providers.routes import Via
from tests.bill.bare_loop import TASK, spent
from tests.support import fork_server
from tests.support.bill.audit import Audit
from tests.support.bill.nests import OUTER, is_outer
from tests.support.bill.parts import CLIENT_VARIABLE, KEY, PAID, PENNY, Paid, lookup, reaching
from tests.support.wire.server import Answer, Call, Fault, Mind, Script, Step, WireRequest, WireServer

if TYPE_CHECKING:
    from tests.support.postgres.server import Server

ROOT = Path(__file__).parents[2]
_OURS, _BARE = "agentctl: billed | recorded | over", "bare loop: billed | recorded | over"
HEADER = f"| what happens | limit | {_OURS} | {_BARE} |"
RULE = "|---|--:|--:|--:|--:|--:|--:|--:|"
#: With the ledger on a server beside the one in a file.
FULL_HEADER = f"| what happens | limit | {_OURS} | on PostgreSQL: billed | over | {_BARE} |"
FULL_RULE = f"{RULE}--:|--:|"
APART = "If an assumption is broken, the charge is recorded in full, one call over at most, and everything stops:"
SECONDS = 600.0
_SOON = (("retry-after-ms", "20"),)
#: A model that a gateway has another one answer for, which costs 17 times as much.
FALLBACK = Paid("openai", "gpt-4o-mini", PENNY.rates, 400, 50)

How = Literal["once", "twice", "killed", "interrupted", "nested"]
"""A run to its end; one more after it; stopped in the middle of its second answer, and one more after that; or one that
starts another, which is given $5.
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: what the server does for both clients, the limit in dollars, how many processes run, and how."""

    name: str
    script: Callable[[], Script]
    limit: Decimal = Decimal("0.10")
    paid: Paid = PAID["openai"]
    processes: int = 1
    how: How = "once"
    apart: bool = False
    long: bool = False


class Came(NamedTuple):
    """The totals of one client's runs, in nano-dollars."""

    billed: int
    recorded: int
    in_doubt: int = 0


def busy(asked: WireRequest, *, paid: Paid = PAID["openai"], **odd: Any) -> Answer:  # noqa: ANN401
    """Say a word, and ask for one more look if there is a tool: only a limit ends this."""
    step = 1 + sum(said.role == "assistant" for said in asked.messages)
    calls = (lookup(step),) if asked.tools else ()
    return paid.answer(f"Step {step}: looking.", calls, **odd)


def _failing(asked: WireRequest) -> Fault:
    tokens = min(1000, asked.clamp or 1000)
    return Fault(500, bills=True, input_tokens=1000, output_tokens=tokens, headers=_SOON)


def _storm(asked: WireRequest) -> Step:
    return busy(asked) if asked.number % 3 == 0 else Fault(429, headers=_SOON)


def _fallback(asked: WireRequest) -> Answer:
    """Answer as a more expensive model than was asked: briefly at first, and then at length."""
    tokens = 50 if asked.number == 1 else 4_000
    return busy(asked, paid=FALLBACK, model=PENNY.model, output_tokens=tokens)


def _always(mind: Mind, **odd: Any) -> Callable[[], Script]:  # noqa: ANN401
    return lambda: partial(mind, **odd)


def _starting(asked: WireRequest) -> Answer:
    """Start another run by a command of the outer one, and look for ever in that."""
    if not is_outer(asked):
        return busy(asked, paid=PENNY)
    if any(said.role == "tool" for said in asked.messages):
        return PENNY.answer("It has ended.")
    again = shlex.join(
        [sys.executable, "-m", "agentctl", "run", TASK, "--max-cost", "5", "--max-cost-per-hour", "none"]
    )
    command = f"cd {shlex.quote(str(ROOT))} && {again}"
    return PENNY.answer("Starting it.", (Call("run_shell", {"command": command, "timeout": 300}),))


def _stalling() -> Script:
    return [busy, partial(busy, stall=True)]


SCENARIOS = (
    Scenario("one run, and all is well", _always(busy)),
    Scenario("two runs in one hour", _always(busy), how="twice"),
    Scenario("8 processes at once", _always(busy, paid=PENNY, pause_s=0.05), Decimal("0.30"), PENNY, 8),
    Scenario("50 processes at once", _always(busy, pause_s=0.05), Decimal(2), processes=50, long=True),
    Scenario("5xx after it was billed, and retries", _always(_failing)),
    Scenario("the answer is cut after it was billed", _always(busy, cut_at="middle")),
    Scenario("usage is missing", _always(busy, usage="omit")),
    Scenario("usage is 0", _always(busy, usage="zero")),
    Scenario("a later smaller report", _always(busy, usage="falls")),
    Scenario("429 twice before each answer", _always(_storm)),
    Scenario("a gateway answers with a more expensive model", _always(_fallback), Decimal("0.01"), paid=FALLBACK),
    Scenario("kill -9 in mid-answer, then one more run", _stalling, how="killed"),
    Scenario("Ctrl-C in mid-answer, then one more run", _stalling, how="interrupted"),
    Scenario("a nested run", _always(_starting), Decimal("0.06"), PENNY, how="nested"),
    Scenario(
        "the model goes on past its max_tokens",
        _always(busy, paid=PENNY, output_tokens=12_000, obeys=False),
        paid=PENNY,
        apart=True,
    ),
    Scenario(
        "reports more than the window",
        _always(busy, paid=PENNY, input_tokens=130_000),
        Decimal("0.50"),
        paid=PENNY,
        apart=True,
    ),
)


def run_agentctl(scenario: Scenario, folder: Path, via: str = "auto", ledger: str = "") -> Came:
    """Run the command, watched at every step; ``via`` is the client that calls the model.

    ``ledger`` is the address of a PostgreSQL server; "": a file.

    Raises:
        AssertionError: The ledger did not account for the bill at some step.
    """
    state = folder / "state"
    task, limit = (
        TASK,
        ["--max-cost-per-hour", str(scenario.limit), "--max-cost", "none", "--max-output-tokens", "1100"],
    )
    if scenario.how == "nested":
        task, limit = OUTER, ["--max-cost", str(scenario.limit), "--sandbox", "none", "--yes"]
    words = ["-m", "agentctl", "run", task, "--json", *limit, "--budget-wait", "10s"]
    folders = {f"AGENTCTL_{kind}_DIR": str(folder / kind.lower()) for kind in ("STATE", "CONFIG", "CACHE")}
    audit = Audit(ledger or state / "ledger.db")
    with WireServer(scenario.script(), rates=scenario.paid.rates, keys=[KEY]) as server:
        audit.watch(server.books)
        environ = {**folders, **reaching(server, "openai"), "LLM_MODEL": scenario.paid.model, CLIENT_VARIABLE: via}
        environ |= {"AGENTCTL_LEDGER": ledger} if ledger else {}
        _write_own_env(folder, environ)
        _act(scenario, server, lambda: [_start(words, folder, environ) for _ in range(scenario.processes)])
    audit.close()
    return Came(server.books.billed_nano, audit.nano("settled"), audit.nano("doubt"))


def run_bare(scenario: Scenario, folder: Path) -> Came:
    """Run the loop that looks, calls and adds."""
    counter = folder / "counter.json"
    words = ["-m", "tests.bill.bare_loop", str(counter), str(scenario.limit), scenario.paid.model]
    with WireServer(scenario.script(), rates=scenario.paid.rates, keys=[KEY]) as server:
        environ = {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": server.openai_url,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
        }
        more = [str(scenario.processes), *(["nested"] if scenario.how == "nested" else [])]
        _act(scenario, server, lambda: [_start([*words, *more], folder, environ)])
    recorded = spent(counter) + spent(counter.with_name("nested.json"))
    return Came(server.books.billed_nano, round(recorded * 10**9))


def _write_own_env(folder: Path, environ: Mapping[str, str]) -> None:
    """Write the user's .env: a command of a run gets nothing of the environment."""
    own = folder / ".config" / "agentctl" / ".env"
    own.parent.mkdir(parents=True)
    own.touch(0o600)
    own.write_text("".join(f"{name}={value}\n" for name, value in environ.items() if not name.endswith("_DIR")))


def _start(words: list[str], folder: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), **fork_server.ENVIRON, "AGENTCTL_AGENT": "system"}
    own = fork_server.of_start(os.environ) | own
    quiet = subprocess.DEVNULL
    if words[:2] == ["-m", "agentctl"] and fork_server.can_fork(words, {**own, **environ}, loads="litellm"):
        return fork_server.Forked(
            words,
            cwd=folder,
            env={**own, **environ},
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            start_new_session=True,
            loads="litellm",
        )
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env={**own, **environ},
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    )


def _act(scenario: Scenario, server: WireServer, start: Callable[[], list[subprocess.Popen[bytes]]]) -> None:
    processes = start()
    try:
        if scenario.how in ("killed", "interrupted"):
            if not server.books.wait(lambda books: len(books.entries) == 2, SECONDS):
                raise RuntimeError(f"{scenario.name}: no second answer")
            how = signal.SIGKILL if scenario.how == "killed" else signal.SIGINT
            for process in processes:
                process.send_signal(how)
        for process in processes:
            process.wait(SECONDS)
        if scenario.how not in ("once", "nested"):
            server.play(busy)
            processes = start()
            for process in processes:
                process.wait(SECONDS)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _dollars(nano: int) -> str:
    return f"{Decimal(nano) / 10**9:.2f}"


def line(scenario: Scenario, ours: Came, bare: Came, fleet: Came | None = None) -> str:
    """Return a line of the table, in dollars; ``fleet`` is what came with the ledger on a server."""
    limit = int(scenario.limit * 10**9)
    recorded = _dollars(ours.recorded) + (f" + {_dollars(ours.in_doubt)} in doubt" if ours.in_doubt else "")
    cells = (
        *(scenario.name, _dollars(limit)),
        *(_dollars(ours.billed), recorded, _dollars(max(0, ours.billed - limit))),
        *(() if fleet is None else (_dollars(fleet.billed), _dollars(max(0, fleet.billed - limit)))),
        *(_dollars(bare.billed), _dollars(bare.recorded), _dollars(max(0, bare.billed - limit))),
    )
    return f"| {' | '.join(cells)} |"


def main(words: list[str] | None = None) -> None:
    """Print the table row by row as the runs end."""
    parser = argparse.ArgumentParser(prog="python -m tests.bill.table", description=__doc__)
    parser.add_argument("--full", action="store_true", help="also what takes minutes")
    parser.add_argument("--only", metavar="WORDS", default="", help="the scenarios whose name begins so")
    parser.add_argument("--via", choices=get_args(Via), default="auto", help="the client that calls the model")
    told = parser.parse_args(words)
    chosen = [one for one in SCENARIOS if one.name.startswith(told.only) and (told.full or not one.long)]
    header = "\n".join((FULL_HEADER, FULL_RULE) if told.full else (HEADER, RULE))
    print(header, flush=True)
    told_apart = False
    with _server() if told.full else nullcontext() as server:
        for scenario in chosen:
            with ExitStack() as folders:
                ours, on_server, bare = (Path(folders.enter_context(TemporaryDirectory())) for _ in range(3))
                came = run_agentctl(scenario, ours, told.via)
                fleet = None if server is None else run_agentctl(scenario, on_server, told.via, _new_ledger(server))
                row = line(scenario, came, run_bare(scenario, bare), fleet)
            if scenario.apart and not told_apart:
                print("", APART, "", header, sep="\n")
                told_apart = True
            print(row, flush=True)


def _server() -> Server:
    """Return a server to start, which writes to a disk as a real one does."""
    from tests.support.postgres.server import Server

    return Server(durable=True)


def _new_ledger(server: Server) -> str:
    """Create a ledger, and return its address for the role of runs."""
    from tests.support.postgres.fleet import new_fleet
    from tests.support.postgres.server import RUNNER

    return server.dsn(new_fleet(server).database, user=RUNNER)


if __name__ == "__main__":
    main()
