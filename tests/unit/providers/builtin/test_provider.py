"""builtin as a provider: one call, the tool's answer unchanged, or a refusal."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentctl.core.errors import ActionDenied, AgentctlError, TaskFailed
from agentctl.core.messages import Completion, Message, Request, ToolCall, ToolSpec
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.protocols import LLMProvider
from agentctl.providers.builtin.lexicon import CHANGES
from agentctl.providers.builtin.provider import BuiltinProvider, announce, choose_lookup, questions
from tests.unit.providers.builtin.labelled import load

READS = sorted({task.task for task in load("tuning") if task.kind == "read"})
UNQUOTED = [task for task in READS if '"' not in task]


def asked(task: str, *more: Message, tools: tuple[ToolSpec, ...] = ()) -> Request:
    """Build the request of a run's turn."""
    return Request(None, (Message("system", "You are an agent."), Message("user", task), *more), tools)


async def answered(request: Request) -> list[object]:
    """Collect what the provider says."""
    provider: LLMProvider = BuiltinProvider()
    return [piece async for piece in provider.stream(request)]


async def test_a_question_becomes_one_call_and_a_sentence_about_it() -> None:
    assert await answered(asked("List all containers")) == [
        Completion(
            'builtin matched your words to a read-only lookup: docker_ps(all=true), same as "docker ps -a".',
            (ToolCall("builtin-1", "docker_ps", {"all": True}),),
            stop="tool_calls",
        )
    ]


async def test_tools_result_is_the_answer() -> None:
    result = "NAME\nweb \x1b[31m  \n"
    done = asked("List all containers", Message("assistant", "…"), Message("tool", result, tool_call_id="builtin-1"))
    assert await answered(done) == [Completion(result)]


async def test_a_question_of_cause_gets_the_facts_and_a_note() -> None:
    (completion,) = await answered(asked("Why did web crash?"))
    assert isinstance(completion, Completion)
    assert completion.tool_calls == (
        ToolCall("builtin-1", "docker_inspect", {"name": "web"}),
        ToolCall("builtin-2", "docker_logs", {"name": "web", "tail": 20}),
    )
    assert completion.text.endswith("\nA lookup gives the facts; explaining them needs a model: agentctl help setup")


async def test_results_of_several_calls_are_the_answer_in_their_order() -> None:
    results = (Message("tool", "state", tool_call_id="builtin-1"), Message("tool", "logs", tool_call_id="builtin-2"))
    assert await answered(asked("Why did web crash?", Message("assistant", "…"), *results)) == [
        Completion("state\n\nlogs")
    ]


async def test_a_lookup_whose_tool_is_not_offered_is_refused() -> None:
    memory = ToolSpec("system_memory", "", {})
    with pytest.raises(TaskFailed, match="docker_ps is not among the tools"):
        await answered(asked("List all containers", tools=(memory,)))


def test_builtin_is_free_and_not_a_language_model() -> None:
    assert BuiltinProvider().facts == ModelFacts("builtin", None, price=FREE, metered=False)


@pytest.mark.parametrize(
    ("task", "command"),
    [
        ("restart web", "docker restart web"),
        ("Could you please restart the web container?", "docker restart web"),
        ("show the logs of web and restart it", "docker restart web"),
        ("would you mind restarting redis", "docker restart redis"),
        ("can you make sure web is stopped", "docker stop web"),
        ("stop all containers", "docker stop $(docker ps -q)"),
        ("remove the image alpine", "docker rmi alpine"),
        ("pull the nginx image", "docker pull nginx"),
        ("kill process 4312", "kill 4312"),
        ("delete /tmp/old.log", "rm /tmp/old.log"),
        ("create a folder named backups", "mkdir backups"),
        ("systemctl restart nginx", "systemctl restart nginx"),
        ("reboot this machine", "reboot"),
        ("restart web and show the logs", "docker restart web"),
        ("stop and remove web", "docker stop web && docker rm web"),
        ("remove and stop web", "docker stop web && docker rm web"),
        ("kill web", "docker kill web"),
        ("pull redis:7", "docker pull redis:7"),
        ("stop all unhealthy containers", "docker stop $(docker ps -q --filter health=unhealthy)"),
        ("restart the sick web container", "docker restart web"),
        ("restart the container called sick", "docker restart sick"),
        ("unpause the paused container busy", "docker unpause busy"),
        ("please stop the container idle", "docker stop idle"),
        ("restart the memcached container", "docker restart memcached"),
        ("delete -x.log", "rm ./-x.log"),
    ],
)
def test_a_change_is_denied_with_the_way_to_do_it_by_hand(task: str, command: str) -> None:
    with pytest.raises(ActionDenied) as denied:
        choose_lookup(task)
    assert denied.value.message == f"builtin only reads. To do it yourself: {command}"
    assert "agentctl help setup" in denied.value.hint


@pytest.mark.parametrize(
    "task",
    [
        "set swap to 4G",
        "write a file hello.txt with hi",
        "free up some space",
        "x" * 700 + " stop web",
        "Restart the sick container",
        "restart the broken container",
        "restart the flaky one",
        "Execute a command inside the container web",
        "don't restart web",
        "stop web if it is unhealthy",
        "update and restart web",
        "stop all exited containers",
        "kill the process on port 8080",
        "restart web twice",
        "restart all containers except web",
    ],
)
def test_change_without_a_known_command_is_denied(task: str) -> None:
    with pytest.raises(ActionDenied, match="only reads; it cannot change anything"):
        choose_lookup(task)


def test_unclear_task_names_the_nearest_lookups() -> None:
    with pytest.raises(TaskFailed) as failed:
        choose_lookup("containers using more than 1GB")
    assert failed.value.message == "no lookup clearly fits: containers using more than 1GB"
    assert failed.value.hint.startswith("the nearest lookups: ")
    assert failed.value.hint.endswith(
        "; all that builtin answers: agentctl help builtin; to use a model: agentctl help setup"
    )
    assert "docker stats" in failed.value.hint


@pytest.mark.parametrize(
    ("task", "near"),
    [
        ("folders with containers", "the folders in a folder (find . -mindepth 1 -maxdepth 1 -type d)"),
        ("what is odd about the logs of container web.db", "(docker logs --tail 100 web.db)"),
        ("what is odd about the logs of zork", "the logs of a container, or their last lines (say which)"),
    ],
)
def test_hint_has_whole_command_lines_and_no_guessed_names(task: str, near: str) -> None:
    with pytest.raises(TaskFailed) as failed:
        choose_lookup(task)
    assert near in failed.value.hint
    assert "NAME" not in failed.value.hint
    assert "  " not in failed.value.hint


@pytest.mark.parametrize("task", [*(task.task for task in load("tuning") + load("fresh")), "", "restart web"])
def test_no_sentence_of_builtin_says_that_a_model_is_missing(task: str) -> None:
    try:
        said = announce(choose_lookup(task))
    except (TaskFailed, ActionDenied) as error:
        said = f"{error.message} {error.hint}"
    assert "set up" not in said
    assert "No model" not in said


@pytest.mark.parametrize(
    ("task", "message", "hint"),
    [
        ("is port 70000 in use", "70000 is not a port", "name a number from 1 to 65535"),
        ("last 0 lines of app.log", "0 is not a number that this lookup takes", "name a number from 1 to 100000"),
        ("top 500 processes", "500 is not a number that this lookup takes", "name a number from 1 to 200"),
    ],
)
def test_number_that_the_tool_does_not_take_is_refused_in_words(task: str, message: str, hint: str) -> None:
    with pytest.raises(TaskFailed) as failed:
        choose_lookup(task)
    assert (failed.value.message, failed.value.hint) == (message, hint)


@pytest.mark.parametrize("task", ["", "   ", "\n\t", "???", "…"])
def test_empty_task_is_refused_with_the_list_of_lookups(task: str) -> None:
    with pytest.raises(TaskFailed, match="no lookup clearly fits") as failed:
        choose_lookup(task)
    assert "df -h" in failed.value.hint


def test_control_characters_are_shown_and_never_sent_to_the_screen() -> None:
    with pytest.raises(TaskFailed) as failed:
        choose_lookup("show \x1b]0;title\x07 \x9b31m of zork\u202e")
    assert failed.value.message.isprintable()


@pytest.mark.parametrize("task", ["show logs of web " * 700, "a" * 10_000, '"' * 10_000, "' " * 5_000, "ﷺ" * 3_000])
def test_very_long_task_is_not_answered(task: str) -> None:
    with pytest.raises(AgentctlError) as failed:
        choose_lookup(task)
    assert len(failed.value.message) < 400


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("how much disk is free", "HOW MUCH DISK IS FREE???"),
        ("logs of container web", "Logs of container “web”"),
        ("list images", "  list   the images,\n please! "),
        ("what is in /tmp/größe.txt", "What\u2019s in /tmp/gro\u0308ße.txt?"),
        ("list running containers", "lsit runing contaienrs"),
    ],
)
def test_case_blanks_quotes_and_slips_of_the_finger_do_not_matter(one: str, same: str) -> None:
    assert choose_lookup(one).lookup.tool == choose_lookup(same).lookup.tool
    assert choose_lookup(one).arguments == choose_lookup(same).arguments


def test_every_question_of_the_help_has_words_for_people() -> None:
    assert all(lookup.about and lookup.same_as and (lookup.examples or lookup.causes) for lookup in questions())


@settings(max_examples=300)
@given(st.text() | st.lists(st.sampled_from(sorted({word for task in READS for word in task.split()}))).map(" ".join))
@example("'")
@example("\"\" '' ``")
@example("\ud800")
def test_any_text_ends_in_a_call_or_a_refusal_and_always_the_same(text: str) -> None:
    def tried() -> object:
        try:
            match = choose_lookup(text)
        except (TaskFailed, ActionDenied) as error:
            return type(error), error.message, error.hint
        return match.lookup.about, dict(match.arguments)

    assert tried() == tried()


@settings(max_examples=300)
@given(st.sampled_from(UNQUOTED), st.sampled_from(sorted(CHANGES)), st.integers(0, 30))
def test_a_verb_of_change_anywhere_outside_quotes_never_yields_a_call(task: str, verb: str, place: int) -> None:
    words = task.split()
    words.insert(place % (len(words) + 1), verb)
    with pytest.raises((ActionDenied, TaskFailed)):
        choose_lookup(" ".join(words))


def test_a_verb_of_change_in_quotes_can_be_searched_for_and_nothing_else() -> None:
    assert choose_lookup('search for "restart" in app.log').lookup.tool == "search_files"
    with pytest.raises(AgentctlError):
        choose_lookup('"restart" web and list containers')
