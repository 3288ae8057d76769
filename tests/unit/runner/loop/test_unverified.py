"""An answer about a file or a container that nobody looked at is sent back once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentctl.core.errors import Refused
from agentctl.core.events import MessageAdded, Noted
from agentctl.core.messages import Completion
from agentctl.core.results import ErrorInfo, InputTaken, RunResult
from agentctl.core.tool_rules import parse_rule
from agentctl.ledger import SqliteLedger
from agentctl.permissions.decision import Permissions
from agentctl.permissions.guards import LoopLimits
from agentctl.providers.scripted import ScriptedProvider, Step
from agentctl.runner.plan import Plan
from agentctl.runner.unseen import find_unseen
from tests.support.json_run import JsonRun
from tests.support.loop import USED, Box, Deed, asks, call, says
from tests.unit.runner.loop.parts import House

TASK = "How many lines are in app.log?"
GUESS, LOOK, RIGHT = says("There are 100 lines."), asks(call("read_file", path="app.log")), says("There are 2 lines.")
FIRST = "Look at app.log first: call read_file, then answer from what it returns."


@pytest.fixture
def house(ledger: SqliteLedger, tmp_path: Path) -> House:
    """A house with a log in its workspace, a container called web, and the tools to look at both."""
    (tmp_path / "app.log").write_text("one\ntwo\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "logs").mkdir()
    found = House(ledger)
    found.box = Box(
        Deed("read_file", lambda _: "one\ntwo"),
        Deed("docker_ps", lambda _: "web  up"),
        Deed("docker_logs", lambda _: "boom"),
        Deed("write_file", lambda _: "written", effect="write", contained=True),
    )
    return found


class Engine:
    """The containers of an engine; ``asked`` counts how often it was asked."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = names, 0

    async def list(self) -> Collection[str]:
        self.asked += 1
        return self.names


@dataclass(frozen=True, slots=True)
class Data:
    """What comes with a task."""

    data: str = ""
    taken: InputTaken | None = None
    warnings: tuple[str, ...] = ()
    waited_s: float = 0.0

    def refuse_late(self) -> None: ...

    def late_warning(self) -> str:
        return ""


async def ask(
    house: House,
    script: Sequence[Step],
    task: str = TASK,
    *,
    data: str = "",
    engine: Engine | None = None,
    **plan: object,
) -> tuple[RunResult, ScriptedProvider]:
    workspace = str(house.ledger.path.parent)
    listed = None if engine is None else engine.list
    orchestrator, provider = house.build(script, list_containers=listed, **{"workdir": workspace, **plan})  # type: ignore[arg-type]
    return await orchestrator.run(task, Data(data)), provider


async def test_answer_without_a_look_is_sent_back_and_the_next_one_counts(house: House) -> None:
    result, provider = await ask(house, [GUESS, LOOK, RIGHT])
    assert (result.status, result.answer, result.complete, result.turns) == ("done", "There are 2 lines.", True, 3)
    assert [message.text for message in provider.heard[1].messages[-2:]] == ["There are 100 lines.", FIRST]
    assert FIRST in [event.message.text for event in house.diary.of(MessageAdded)]
    assert "the answer came without a look at app.log: asking for one" in [n.text for n in house.diary.of(Noted)]


async def test_second_answer_without_a_look_is_unverified(house: House) -> None:
    result, provider = await ask(house, [GUESS, says("Still 100."), RIGHT])
    assert (result.status, result.answer, result.complete, len(provider.heard)) == ("failed", "Still 100.", False, 2)
    assert result.error == ErrorInfo(
        "unverified",
        "the model answered twice without looking at app.log",
        "choose another model, or give it the data (--input app.log)",
    )


async def test_container_that_exists_is_looked_at(house: House) -> None:
    engine = Engine("db", "web")
    script = [says("It is fine."), asks(call("docker_logs", name="web")), says("boom")]
    result, provider = await ask(house, script, "Is web healthy?", engine=engine)
    assert (result.status, result.answer, engine.asked) == ("done", "boom", 1)
    assert provider.heard[1].messages[-1].text.startswith("Look at the container web first: call docker_logs,")
    again, _ = await ask(house, [says("Fine."), says("Fine.")], "Is web healthy?", engine=engine)
    assert again.error is not None
    assert (again.error.kind, again.error.hint) == (
        "unverified",
        "choose another model, or pass its log through a pipe",
    )


ASKED = (
    TASK,
    "Summarise app.log",
    "Write a summary of app.log",
    "what does app.log say?",
    "Show the ERROR lines of ./app.log.",
    'Explain the errors in "app.log"',
    "Make a list of the errors in app.log",
    "Delete app.log",
    "what does the Dockerfile install?",
    "Wie viele Zeilen hat app.log?",
    "Is there a typo in app.log?",
    "Which command does the Dockerfile run?",
    "Translate app.log to German",
    "Can you count the lines of app.log?",
    "Give me a list of the errors in app.log",
)
NOT_ASKED = (
    "How many lines are in other.log?",
    "How many files are in logs/?",
    "What is in /etc/hostname?",
    "Create app.log with three lines",
    "Write the date into app.log",
    "Write a report to app.log",
    "generate a new file called app.log",
    "Save the list as app.log",
    "What is app.log?",
    "What is a Dockerfile?",
    "Explain what app.log usually holds",
    "How do I rotate app.log?",
    "How to write a Dockerfile?",
    "What does app.log mean here?\n```\nERROR 1\n```",
    "What is wrong in app.log?\n\nERROR 1\nERROR 2\nERROR 3",
    "Who are you?",
    "Erkläre, was ein Dockerfile ist",
    "Was ist ein Dockerfile?",
    "Qu'est-ce qu'un Dockerfile ?",
    "¿Qué es un Dockerfile?",
    "Erstelle app.log",
    "Erstelle die Datei app.log mit dem Inhalt hallo",
    "Schreibe hallo in app.log",
    "Lege app.log an",
    "Crée le fichier app.log",
    "Create a new empty file named app.log",
    "I need a file called app.log with 3 lines",
    "echo hello > app.log",
    "Show me a minimal Dockerfile",
    "What is the purpose of a Dockerfile?",
    "Should I commit app.log?",
    "Can I safely delete app.log?",
    "If I delete app.log, what happens?",
    "What does `cat app.log | wc -l` do?",
    "Which command counts the lines of app.log?",
    "Write a shell command that counts the lines of app.log",
    'Translate "where is the app.log?" into German',
)


async def unseen(house: House, task: str, *usable: str, engine: Engine | None = None) -> str:
    """Return what an answer to ``task`` should have looked at, and with which tool."""
    plan = Plan(workdir=str(house.ledger.path.parent))
    listed = None if engine is None else engine.list
    found = await find_unseen("42", usable or ("read_file",), task=task, plan=plan, list_containers=listed)
    return "" if found is None else f"{found.name} {found.tool}"


async def test_task_about_a_file_needs_a_look(house: House) -> None:
    needs = {task: await unseen(house, task) for task in ASKED}
    assert [task for task, found in needs.items() if "read_file" not in found] == []
    assert await unseen(house, TASK, "docker_ps") == ""
    assert await unseen(house, TASK, "run_shell") == "app.log run_shell"


async def test_other_task_needs_no_look(house: House) -> None:
    needs = {task: await unseen(house, task, "read_file", "docker_ps", engine=Engine("app")) for task in NOT_ASKED}
    assert {task: found for task, found in needs.items() if found} == {}


CONTAINERS = {
    "Is web healthy?": "web",
    "Why does db-1 restart?": "db-1",
    "logs of web.": "web",
    "restart web and db-1": "web",
    "Is websphere up?": "",
    "Is a web container there?": "",
    "How do I restart web?": "",
    "List all containers": "",
    "Which image does web use?": "web",
    "Check web": "web",
    "How much memory does web use?": "web",
    "Describe db-1": "db-1",
    "Läuft web?": "web",
    "what is a web server?": "",
    "What is web scraping?": "",
    "Write a poem about the web": "",
    "Search the web for cats": "",
    "Is the web slow today?": "",
    "Explain db normalization": "",
    "What is the default port of db?": "",
    "What does docker stop web do?": "",
    "Run web": "",
    "Where is web/app.log?": "",
    "build a web app": "",
}


async def test_name_of_a_container_is_a_whole_word_of_the_task(house: House) -> None:
    for task, name in CONTAINERS.items():
        found = await unseen(house, task, "docker_ps", "docker_logs", engine=Engine("web", "db-1", "db"))
        assert found == (f"the container {name} docker_logs" if name else ""), task


@pytest.mark.parametrize("task", ["Delete app.log", "rename app.log to old.log", "Append a line to app.log"])
async def test_change_that_is_claimed_is_sent_back_and_advice_on_it_is_not(house: House, task: str) -> None:
    claimed, _ = await ask(house, [says("Done."), says("It is done.")], task)
    assert claimed.error is not None
    assert claimed.error.kind == "unverified"
    for advice in ("I can\u2019t change files here.", "Run `mv app.log old.log`."):
        told = await find_unseen(
            advice, ("read_file",), task=task, plan=Plan(workdir=str(house.ledger.path.parent)), list_containers=None
        )
        assert told is None


OTHERWISE: dict[str, tuple[list[Step], str]] = {
    "asks back": ([says("Which app.log do you mean?")], "done"),
    "refuses": ([says("I'm sorry, but I can't help with that.")], "done"),
    "refuses by the filter": ([Completion("No.", usage=USED, stop="refusal")], "failed"),
    "is refused": ([Refused("filtered", billed="no")], "failed"),
    "is empty": ([says("")], "failed"),
    "looked at something": ([asks(call("docker_ps")), GUESS], "done"),
    "failed to look": ([asks(call("no_tool")), GUESS], "done"),
}


@pytest.mark.parametrize(("script", "status"), OTHERWISE.values(), ids=OTHERWISE)
async def test_other_answers_stay_as_they_are(house: House, script: list[Step], status: str) -> None:
    result, provider = await ask(house, script)
    assert (result.status, len(provider.heard)) == (status, len(script))
    assert result.error is None or result.error.kind != "unverified"


async def test_data_of_its_own_needs_no_look(house: House) -> None:
    result, provider = await ask(house, [GUESS], data="\n\none\ntwo")
    assert (result.status, len(provider.heard)) == ("done", 1)


@pytest.mark.parametrize("rule", ["read_file(path=app.log)", "read_file", "read_file(path=*.log)"])
async def test_file_that_may_not_be_read_is_not_asked_for(house: House, rule: str) -> None:
    house.box = Box(Deed("read_file", lambda _: ""))
    for permissions in (Permissions(deny=(parse_rule(rule),)), Permissions(ask=(parse_rule(rule),))):
        result, provider = await ask(house, [GUESS], permissions=permissions)
        assert (result.status, len(provider.heard)) == ("done", 1)


async def test_without_a_tool_to_look_with_nothing_is_asked(house: House) -> None:
    house.box = Box(Deed("write_file", lambda _: "", effect="write", contained=True), Deed("system_load", lambda _: ""))
    engine = Engine("web")
    result, provider = await ask(house, [GUESS], "Count app.log of web", engine=engine)
    assert (result.status, len(provider.heard), engine.asked) == ("done", 1, 0)


async def test_one_turn_is_too_few_to_send_an_answer_back(house: House) -> None:
    result, provider = await ask(house, [GUESS], loop=LoopLimits(max_turns=1))
    assert (result.status, len(provider.heard)) == ("done", 1)


async def test_engine_is_not_asked_by_a_run_that_looks(house: House) -> None:
    engine = Engine("web")
    await ask(house, [asks(call("docker_ps")), says("web is up")], "Is web up?", engine=engine)
    assert engine.asked == 0


def test_command_line_ends_with_1_and_the_kind_unverified(json_run: JsonRun, tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("one\n")
    json_run.run([GUESS, GUESS], "Summarise", "app.log,", "please,", "and")
    assert (json_run.code, json_run.document["error"]["kind"]) == (1, "unverified")
    assert (json_run.document["complete"], json_run.document["answer"]) == (False, GUESS.text)
    assert json_run.provider.heard[1].messages[-1].text.startswith("Look at app.log first: call read_file")
    json_run.run([GUESS, LOOK, RIGHT], "Summarise", "app.log,", "please,", "and")
    assert (json_run.code, json_run.document["answer"]) == (0, RIGHT.text)
