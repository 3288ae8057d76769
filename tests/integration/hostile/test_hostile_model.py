"""A model that does what it can to its user, over the wire and through the whole program: judged by the machine.

What the model is told does not count. A secret that left, a file outside that changed, a listener that was called, a
process that remained, a bill above the limit do.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

import pytest

from agentctl.sandbox.tiers import TIERS
from tests.support import machine
from tests.support.bill.book import book_of
from tests.support.bill.parts import LOOKUPS, PENNY
from tests.support.hostile.attacks import (
    ATTACKS,
    FORGED,
    PLANTED,
    Attack,
    arm,
    flood,
    forge,
    linger,
    paint,
    reach,
    steal,
    write,
)
from tests.support.hostile.victim import Ended, Victim
from tests.support.screen.terminals import Person
from tests.support.wire.server import Answer, Call, WireServer

NOBODY = 65534
USERS = {"root": 0, "a user": NOBODY} if os.geteuid() == 0 else {"a user": os.geteuid()}
TIER_NAMES = [tier.name for tier in TIERS if find_spec(f"agentctl.sandbox.{tier.name}")]
#: What the docs' table of tiers says that a tier does not hide.
VISIBLE = {"landlock": {"read: another program's arguments"}}
LIMIT_NANO = 400_000_000
CALLS_A_TURN = 15
TOOLS = ("--tools", "run_shell,read_file,write_file,list_files,search_files,system_load,system_memory")
ARGUMENTS = ("--max-cost-per-task", "0.40", "--max-tokens-per-task", "none", "--max-turns", "60", "-v", *TOOLS)
#: Movements within the live region, colours and modes: no title, no clipboard, no reset.
STYLE = re.compile(r"\x1b\[[0-9;?]*[ABCDGHJKhlm]")
#: Anything that moves a cursor, hides text or reorders it.
UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def attacking(victim: Victim, attacks: Sequence[Attack]) -> Iterator[Answer]:
    """Yield an answer for each turn: every attack, then reads for ever, which only the limit ends."""
    for attack in attacks:
        calls = attack(victim)
        for first in range(0, len(calls), CALLS_A_TURN):
            yield Answer(f"{attack.__name__}\n{FORGED[0]}\x1b]0;owned\x07", tuple(calls[first : first + CALLS_A_TURN]))
    for number in range(100):
        call = Call(LOOKUPS[number]) if number < len(LOOKUPS) else Call("list_files", {"limit": number})
        yield Answer("I need more.", (call,), output_tokens=2000)


def attacked_by(victim: Victim, attacks: Sequence[Attack]) -> WireServer:
    return WireServer(list(attacking(victim, attacks)), rates={PENNY.model: PENNY.rates})


def run(victim: Victim, server: WireServer, *words: str) -> Ended:
    ended = victim.agentctl("run", *words, OPENAI_BASE_URL=server.openai_url, LLM_MODEL=PENNY.model)
    assert UNSAFE.findall(ended.out + ended.err) == []
    return ended


def assert_paid_within_the_limit(victim: Victim, server: WireServer) -> None:
    """Every request has a hold, all of them together stay within the limit, and the ledger says what was billed."""
    book = book_of(victim.folder / "state")
    assert len(book.sent) == len(server.books.requests)
    assert server.books.billed_nano == book.counted_nano <= book.most_nano <= LIMIT_NANO


def go_on_working(victim: Victim) -> None:
    """Do in the workspace, by hand, what a user and the user's programs do after a run."""
    for words in ("status", "add -A", "commit -qm next", "log -1", "checkout -q -b other", "gc -q --auto"):
        victim.as_user("git", *words.split())
    victim.as_user("ls", "-l")
    for folder in ("src", "bare"):
        victim.as_user("git", "-C", folder, "status")
    for path in PLANTED:
        victim.as_user("sh", "-c", f"test ! -f {path} || . ./{path}")


def requests_of(server: WireServer) -> list[bytes]:
    return [heard.raw for heard in server.books.requests]


@pytest.mark.parametrize("tier", [*TIER_NAMES, "none"])
@pytest.mark.parametrize("user", USERS)
def test_no_attack_of_a_model_has_an_effect_on_the_machine(user: str, tier: str) -> None:
    if USERS[user] != os.geteuid():
        machine.need("Python for others")
    if tier == "bwrap":
        machine.need("sandbox" if USERS[user] == os.geteuid() else "sandbox for others")
    with Victim(USERS[user]) as victim, attacked_by(victim, ATTACKS) as server:
        ended = run(victim, server, "do what the files say", *ARGUMENTS, "--sandbox", tier)
        assert ended.code == 3, ended.err
        assert_paid_within_the_limit(victim, server)
        go_on_working(victim)
        shown = victim.agentctl("runs", "show")
        effects = set(victim.effects(ended.out, ended.err, shown.out, shown.err, *requests_of(server)))
        assert effects - VISIBLE.get(tier, set()) == set()
        server.play(Answer("Hello."))
        again = run(victim, server, "say hello", "--json")
        assert json.loads(again.out)["limits"]["max_cost_per_task"]["limit"] == 0.5
        assert set(victim.effects(again.out, again.err)) == effects


@pytest.mark.parametrize("user", USERS)
def test_commands_without_a_sandbox_leave_no_process_no_bill_and_no_forged_line(user: str) -> None:
    if USERS[user] != os.geteuid():
        machine.need("Python for others")
    with Victim(USERS[user]) as victim, attacked_by(victim, (linger, flood, forge, paint)) as server:
        ended = run(victim, server, "do what the files say", *ARGUMENTS, "--sandbox", "none", "--yes")
        assert ended.code == 3, ended.err
        assert_paid_within_the_limit(victim, server)
        assert victim.effects(ended.out, ended.err, *requests_of(server)) == []
        asked = [heard.asked for heard in server.books.chat_requests if heard.asked is not None]
        heard = {said.text for request in asked for said in request.messages}
        forged = [text for text in heard if text.startswith(("exit code: 41\n", "exit code: 43\n"))]
        assert len(forged) == 2
        assert {line for text in forged for line in text.splitlines()[2:]} & {*FORGED[:4], *FORGED[-2:]} == set()
        assert set(ended.err.splitlines()) & set(FORGED) == set()


def test_attacks_have_an_effect_where_everything_is_allowed() -> None:
    """As an ordinary user: what the other tests look for can be found."""
    if USERS["a user"] != os.geteuid():
        machine.need("Python for others")
    with Victim(USERS["a user"]) as victim, attacked_by(victim, (steal, write, reach, arm)) as server:
        ended = run(victim, server, "do what the files say", *ARGUMENTS, "--sandbox", "none", "--yes")
        go_on_working(victim)
        effects = victim.effects(ended.out, ended.err, *requests_of(server))
        assert {f"read: {what}" for what in ("ssh key", "another program's environment")} < set(effects)
        assert {"wrote: home/.bashrc", "wrote: /tmp", "reached: TCP", "reached: UDP"} < set(effects)
        assert {"ran: monitor", "ran: planted", "ran: path"} < set(effects), effects


def test_a_terminal_shows_escapes_of_a_model_and_does_not_obey_them() -> None:
    machine.need("sandbox")
    with Victim(os.geteuid()) as victim, attacked_by(victim, (forge, paint)) as server:
        environ = victim.environ(OPENAI_BASE_URL=server.openai_url, LLM_MODEL=PENNY.model)
        person = Person(victim.work, "-m", "agentctl", "run", "do what the files say", *ARGUMENTS, environ=environ)
        code, _ = person.leaves()
        assert code == 3
        assert "\x1b[13;37H" not in person.raw
        assert UNSAFE.findall(STYLE.sub("", person.raw).replace("\r", "")) == []
        assert victim.effects(person.raw, *requests_of(server)) == []
