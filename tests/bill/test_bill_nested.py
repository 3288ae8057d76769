"""A run inside a run: both together spend at most the parent's limit, whatever limit the child has."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentctl.core.limits import CostLimit, Parent
from agentctl.ledger.clock import system_clock
from agentctl.sandbox.select import open_sandbox
from tests.support.bill.nests import INNER, OUTER, inner, scopes, starting
from tests.support.bill.parts import KEY, PENNY, Here, reaching
from tests.support.command_line import Commands
from tests.support.ledger.process import Process
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, WireRequest, WireServer

SIX_CENTS = 60_000_000
UNLIMITED = ("--max-cost", "none", "--max-cost-per-hour", "none", "--max-tokens", "none")
NO_LIMITS = {"max_cost_per_task": "none", "max_cost_per_hour": "none", "max_tokens_per_task": "none"}


def reached(server: WireServer) -> dict[str, str]:
    return reaching(server, "openai") | {"LLM_MODEL": PENNY.model}


def opened(wire: OpenWire, script: Any) -> WireServer:  # noqa: ANN401
    return wire(script, rates=PENNY.rates, keys=[KEY])


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


# --- processes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("--max-cost", "5"), UNLIMITED])
def test_run_started_by_a_runs_model_spends_from_the_limit_of_its_parent(
    shell: Commands, state: Path, tmp_path: Path, wire: OpenWire, words: tuple[str, ...]
) -> None:
    server = opened(wire, PENNY.busy)
    server.play(starting(PENNY, inner(reached(server), *words)))
    outer = shell(
        *("run", OUTER, "--json", "--max-cost", "0.06", "--sandbox", "none", "--yes", "--agent", "system"),
        **reached(server),
    )
    assert server.books.billed_nano <= SIX_CENTS
    assert len(server.books.entries) >= 3, (outer, (tmp_path / "inner.err").read_text())
    document = read(tmp_path / "inner.json")
    first = outer.document["run_id"]
    assert scopes(state) == {first: None, document["run_id"]: first}
    assert (document["exit_code"], (tmp_path / "inner.code").read_text()) == (3, "3\n")
    breaker = document["breaker"]
    assert (breaker["limit"], breaker["ceiling"], breaker["run_id"]) == ("max_cost_per_task", 0.06, first)
    assert document["error"]["message"].startswith(f"max_cost_per_task of run {first} is $0.06; the next call could")
    assert breaker["hint"].startswith(f"restart run {first} with --max-cost 0.")
    assert document["cost"]["nano_usd"] + outer.document["cost"]["nano_usd"] == server.books.billed_nano
    used = outer.document["limits"]["max_cost_per_task"]["used"]
    assert round(used * 10**9) == server.books.billed_nano, "what children spent counts in their parent"


def test_eight_runs_that_a_command_starts_at_once_share_the_limit_of_their_parent(
    shell: Commands, state: Path, tmp_path: Path, wire: OpenWire
) -> None:
    server = opened(wire, PENNY.busy)
    each = [inner(reached(server), *UNLIMITED, "--budget-wait", "5s", into=f"inner{n}") for n in range(8)]
    server.play(starting(PENNY, "".join(f"({one}) & " for one in each) + "wait"))
    outer = shell(
        *("run", OUTER, "--json", "--max-cost", "0.30", "--sandbox", "none", "--yes", "--agent", "system"),
        **reached(server),
    )
    assert server.books.billed_nano <= 300_000_000
    assert server.books.billed_nano >= 200_000_000
    codes = {(tmp_path / f"inner{n}.code").read_text() for n in range(8)}
    assert {"3\n"} <= codes <= {"0\n", "3\n"}, "0: a limit cut an answer short, before it could ask for more"
    assert list(scopes(state).values()) == [None, *[outer.document["run_id"]] * 8]


def test_the_capability_stands_nowhere_but_in_the_environment(
    shell: Commands, state: Path, tmp_path: Path, wire: OpenWire
) -> None:
    """The command prints it in several ways, and the model reads it from a file, where nothing is masked."""
    command = (
        "printenv AGENTCTL_PARENT_CAPABILITY | tr -d '\\n' > secret; env; cat /proc/self/environ | tr '\\0' '\\n' >&2;"
        " env | base64 -w 0; cp secret copy.txt"
    )

    def mind(asked: WireRequest) -> Answer:
        results = sum(said.role == "tool" for said in asked.messages)
        calls = (Call("run_shell", {"command": command}), Call("read_file", {"path": "copy.txt"}))
        return PENNY.answer("Looking.", (calls[results],)) if results < 2 else PENNY.answer("Done.")

    server = opened(wire, mind)
    ended = shell(
        *("run", OUTER, "-o", "jsonl", "-v", "--sandbox", "none", "--yes", "--agent", "system", "--max-cost", "1"),
        **reached(server),
    )
    secret = (tmp_path / "secret").read_text()
    assert len(secret) * 4 >= 128
    assert (
        "AGENTCTL_PARENT_CAPABILITY=[redacted]" in (state / "runs" / f"{ended.lines[-1]['run_id']}.jsonl").read_text()
    )
    told = [ended.out, ended.err, *(file.read_bytes().decode("latin-1") for file in state.rglob("*") if file.is_file())]
    assert [text[:200] for text in told if secret in text] == []
    second = server.books.chat_requests[1].asked
    assert second is not None
    assert secret not in json.dumps(second.body), "the output of a command is masked before a model reads it"


def test_a_command_in_the_sandbox_has_no_capability_and_starts_no_run(tmp_path: Path, shell: Commands) -> None:
    """The sandboxed environment is handed to a process that can import agentctl."""
    import anyio

    async def environment() -> dict[str, str]:
        work = tmp_path / "work"
        work.mkdir()
        sandbox = await open_sandbox("bwrap", workspace=work, network=False, read_only=False)
        result = await sandbox.run("env", timeout=30)
        return dict(line.partition("=")[::2] for line in result.stdout.splitlines())

    inside = anyio.run(environment)
    mine = {name: value for name, value in inside.items() if name.startswith("AGENTCTL_")}
    assert list(mine) == ["AGENTCTL_CHILD"]
    for words in (("--provider", "builtin"), (), ("--estimate",), ("--provider", "openai")):
        ended = shell("run", INNER, "--json", *words, **mine, CI="1")
        assert (ended.code, ended.document["status"]) == (5, "denied")
        assert "no run can start inside the sandbox of another run" in ended.err
        assert "hint: start the new run outside the other one, or start the other one with --sandbox none" in ended.err
    assert not (tmp_path / "state").exists()


# --- in this process ------------------------------------------------------------------------------------------------


class Outer:
    """An idle parent: a process of its own whose run has a limit, and which can be killed."""

    def __init__(self, here: Here, dollars: str | None = "0.06") -> None:
        here.state.mkdir(parents=True)
        self.process = Process(here.state / "ledger.db", system_clock(), None)  # type: ignore[arg-type]
        limits = CostLimit(max_cost_per_task=dollars, max_cost_per_hour=None, max_tokens_per_task=None)
        self.process.session.open_run("outer", limits, task="t", agent="a", labels={}, capability="c" * 64)

    @property
    def environ(self) -> dict[str, str]:
        return {
            "AGENTCTL_CHILD": "0" * 32,
            "AGENTCTL_PARENT_RUN": "outer",
            "AGENTCTL_PARENT_CAPABILITY": "c" * 64,
            "AGENTCTL_AGENT": "system",
        }


@pytest.fixture
def outer(user: Here) -> Iterator[Outer]:
    parent = Outer(user)
    yield parent
    parent.process.kill()


async def test_a_child_without_limits_is_stopped_by_the_one_of_its_parent(
    user: Here, outer: Outer, wire: OpenWire
) -> None:
    server = opened(wire, PENNY.busy)
    document = await user.run(reached(server) | outer.environ, **NO_LIMITS)
    assert (document["exit_code"], document["breaker"]["run_id"]) == (3, "outer")
    assert server.books.billed_nano <= SIX_CENTS
    assert document["limits"]["max_cost_per_task"]["limit"] is None
    again = await user.run(reached(server) | outer.environ, **NO_LIMITS)
    assert again["exit_code"] == 3, "a new child finds what is left of its parent's limit, and no limit of its own"
    assert server.books.billed_nano <= SIX_CENTS


async def test_childs_own_lower_limit_binds_first_and_is_not_reported_as_its_parents(
    user: Here, outer: Outer, wire: OpenWire
) -> None:
    server = opened(wire, PENNY.busy)
    document = await user.run(reached(server) | outer.environ, **{**NO_LIMITS, "max_cost_per_task": "0.04"})
    assert document["breaker"]["ceiling"] == 0.04
    assert "run_id" not in document["breaker"]
    assert document["breaker"]["hint"].startswith("agentctl run --max-cost ")
    assert "of run" not in document["error"]["message"]


async def test_child_of_a_killed_parent_settles_what_it_sent_and_sends_no_more(
    user: Here, outer: Outer, wire: OpenWire
) -> None:
    def mind(asked: WireRequest) -> Answer:
        outer.process.kill()
        return PENNY.busy(asked)

    server = opened(wire, mind)
    document = await user.run(reached(server) | outer.environ, **NO_LIMITS)
    assert (document["exit_code"], document["status"], len(server.books.entries)) == (5, "denied", 1)
    assert document["error"] == {
        "kind": "denied",
        "message": "run outer, which this run belongs to, has ended: nothing more is sent",
        "hint": "start this run again outside the other one",
    }
    assert document["cost"]["nano_usd"] == server.books.billed_nano == 10_000_000
    assert [one.phase for one in user.book.sent] == ["settled"]


async def test_a_child_whose_parent_ends_between_hold_and_sending_sends_nothing(
    user: Here, outer: Outer, wire: OpenWire
) -> None:
    class Closes:
        async def observe(self, record: Any) -> None:  # noqa: ANN401
            if type(record.event).__name__ == "CallHeld":
                outer.process.session.close_run("outer", "done")

    server = opened(wire, PENNY.busy)
    here = Here(user.folder, observers=(Closes(),))
    document = await here.run(reached(server) | outer.environ, **NO_LIMITS)
    assert (document["exit_code"], server.books.entries) == (5, ())
    assert user.book.sent == ()


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"AGENTCTL_PARENT_CAPABILITY": ""}, "AGENTCTL_PARENT_RUN is set without AGENTCTL_PARENT_CAPABILITY"),
        ({"AGENTCTL_PARENT_RUN": ""}, "AGENTCTL_PARENT_CAPABILITY is set without AGENTCTL_PARENT_RUN"),
        ({"AGENTCTL_PARENT_RUN": "", "AGENTCTL_PARENT_CAPABILITY": ""}, "inside the sandbox of another run"),
        ({"AGENTCTL_PARENT_CAPABILITY": "d" * 64}, "the capability for run outer, which this run belongs to, is wrong"),
        ({"AGENTCTL_PARENT_RUN": "nobody"}, "run nobody, which this run belongs to, is not in the ledger"),
    ],
)
async def test_child_without_a_valid_capability_sends_nothing(
    user: Here, outer: Outer, wire: OpenWire, environ: dict[str, str], said: str
) -> None:
    from agentctl.core.errors import ActionDenied

    server = opened(wire, PENNY.busy)
    try:
        document = await user.run({**reached(server), **outer.environ, **environ}, **NO_LIMITS)
    except ActionDenied as error:  # before anything is opened
        document = {"exit_code": 5, "error": {"message": error.message, "hint": error.hint}}
    assert document["exit_code"] == 5
    assert said in document["error"]["message"]
    assert document["error"]["hint"]
    assert "\n" not in document["error"]["message"]
    assert server.books.chat_requests == ()
    assert list(scopes(user.state)) == ["outer"]


async def test_a_child_with_another_state_folder_sends_nothing(
    user: Here, outer: Outer, wire: OpenWire, tmp_path: Path
) -> None:
    server = opened(wire, PENNY.busy)
    for place in ("elsewhere", "copied"):
        other = Here(tmp_path / place)
        if place == "copied":
            other.state.mkdir(parents=True)
            with closing(sqlite3.connect(user.state / "ledger.db")) as ledger:
                ledger.execute("VACUUM INTO ?", (str(other.state / "ledger.db"),))
        document = await other.run(reached(server) | outer.environ, **NO_LIMITS)
        assert (document["exit_code"], document["error"]["kind"]) == (5, "denied")
        wrong = "is not in the ledger" if place == "elsewhere" else "has ended"
        assert wrong in document["error"]["message"]
    assert server.books.chat_requests == ()


async def test_a_capability_is_of_no_use_once_its_run_has_ended(user: Here, outer: Outer, wire: OpenWire) -> None:
    server = opened(wire, PENNY.busy)
    outer.process.session.close_run("outer", "done")
    document = await user.run(reached(server) | outer.environ, **NO_LIMITS)
    assert (document["exit_code"], server.books.chat_requests) == (5, ())
    assert "run outer, which this run belongs to, has ended" in document["error"]["message"]


async def test_a_free_run_stands_below_its_parent_too_and_ends_with_it(user: Here, outer: Outer) -> None:
    document = await user.run(outer.environ, llm_provider="builtin")
    assert (document["exit_code"], scopes(user.state)[document["run_id"]]) == (0, "outer")
    outer.process.session.close_run("outer", "done")
    assert (await user.run(outer.environ, llm_provider="builtin"))["exit_code"] == 5


async def test_a_grandchild_spends_from_every_run_above_it(user: Here, outer: Outer, wire: OpenWire) -> None:
    middle = Process(user.state / "ledger.db", system_clock(), None)  # type: ignore[arg-type]
    none = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)
    above = Parent("outer", "c" * 64)
    middle.session.open_run("middle", none, task="t", agent="a", labels={}, parent=above, capability="m" * 64)
    own = {"AGENTCTL_PARENT_RUN": "middle", "AGENTCTL_PARENT_CAPABILITY": "m" * 64}
    server = opened(wire, PENNY.busy)
    document = await user.run(reached(server) | outer.environ | own, **NO_LIMITS)
    assert (document["exit_code"], document["breaker"]["run_id"]) == (3, "outer")
    assert server.books.billed_nano <= SIX_CENTS
    assert outer.process.session.spend("outer").run_nano == middle.session.spend("middle").run_nano
    middle.kill()


async def test_a_model_without_a_price_is_refused_below_a_dollar_limit_and_nothing_is_sent(
    user: Here, outer: Outer, wire: OpenWire
) -> None:
    server = opened(wire, PENNY.busy)
    document = await user.run(reached(server) | outer.environ | {"LLM_MODEL": "nobody-knows"}, **NO_LIMITS)
    assert (document["exit_code"], document["error"]["kind"]) == (2, "unknown_price")
    assert "run outer above this one has a dollar limit" in document["error"]["message"]
    assert server.books.chat_requests == ()


def test_an_estimate_in_a_child_is_judged_under_the_limits_of_its_parent(
    user: Here, outer: Outer, wire: OpenWire, shell: Commands
) -> None:
    server = opened(wire, PENNY.busy)
    user.folder.mkdir(exist_ok=True)
    environ = reached(server) | outer.environ | {"AGENTCTL_STATE_DIR": str(user.state)}
    document = shell("run", INNER, "--estimate", "--json", *UNLIMITED, **environ).document
    assert [(one["run_id"], one["name"], one["limit"]) for one in document["limits_above"]] == [
        ("outer", "max_cost_per_task", 0.06)
    ]
    assert (document["exit_code"], document["cost"]["ceiling_usd"]) == (0, 0.06)
    text = shell("run", INNER, "--estimate", *UNLIMITED, **environ).out
    assert "max_cost_per_task of run outer" in text
    book = outer.process.session
    book.close_run("outer", "done")
    gone = shell("run", INNER, "--estimate", *UNLIMITED, **environ)
    assert (gone.code, "run outer, which this run belongs to, has ended" in gone.err) == (5, True)
    assert server.books.chat_requests == ()


async def test_an_estimate_is_refused_where_the_first_call_would_be(user: Here, wire: OpenWire) -> None:
    from agentctl.runner.assemble import estimate_run
    from agentctl.settings import choose_provider, load_settings

    parent = Outer(user, dollars="0.001")
    server = opened(wire, PENNY.busy)
    folders = {f"AGENTCTL_{kind.upper()}_DIR": str(user.folder / kind) for kind in ("state", "config", "cache")}
    loaded = load_settings(
        flags=NO_LIMITS, environ={**folders, **reached(server), **parent.environ}, cwd=user.folder, remember=False
    )
    found = await estimate_run(loaded, choose_provider(loaded), INNER, labels={})
    assert found.breaker is not None
    assert (found.breaker.limit, found.breaker.run_id) == ("max_cost_per_task", "outer")
    assert found.refusal is not None
    assert "max_cost_per_task of run outer is $0.001" in found.refusal.message
    parent.process.kill()
