"""Changes of containers with admission, as in a run: rules hold however a container is named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agentctl.core.errors import ActionDenied, EngineUnavailable, ToolError
from agentctl.core.events import ApprovalAsked, Event, ToolAllowed, ToolDenied, ToolStarted
from agentctl.core.messages import ToolCall
from agentctl.core.tool_rules import Rule, parse_rule
from agentctl.permissions.admission import Admission
from agentctl.permissions.decision import Permissions
from agentctl.permissions.guards import LoopLimits
from agentctl.protocols import Approval, Question
from agentctl.runner.tool_calls import ToolDispatcher
from agentctl.runner.tool_results import Result
from agentctl.tools.toolbox import LazyToolbox, toolbox
from tests.support.docker_parts import Docker, Make, inspected

pytest_plugins = ["tests.support.engine", "tests.support.docker_plugin"]


@dataclass
class Person:
    """Answers every question the same way; ``meanwhile`` runs while the question is open."""

    answer: Approval
    meanwhile: Callable[[], Awaitable[None]] | None = None
    asked: list[Question] = field(default_factory=list)

    async def approve(self, question: Question) -> Approval:
        self.asked.append(question)
        if self.meanwhile is not None:
            await self.meanwhile()
        return self.answer


class Door:
    """Tools with admission, and the events of the admitted calls."""

    def __init__(
        self,
        box: LazyToolbox,
        *,
        person: Person | None = None,
        deny: Sequence[str] = (),
        allow: Sequence[str] = (),
        read_only: bool = False,
    ) -> None:
        self.events: list[Event] = []
        admission = Admission(
            permissions=Permissions(
                read_only=read_only, deny=tuple(map(parse_rule, deny)), allow=tuple(map(parse_rule, allow))
            ),
            emit=self._emit,
            approver=person,
        )
        self.dispatch = ToolDispatcher(toolbox=box, admission=admission, emit=self._emit, limits=LoopLimits())

    async def _emit(self, event: Event) -> None:
        self.events.append(event)

    async def ask(self, tool: str, **arguments: object) -> Result:
        """Return the result of one call of a model."""
        [result] = await self.dispatch.run([ToolCall("c1", tool, arguments)], {})
        return result


async def test_a_deny_rule_by_name_holds_against_every_other_way_to_name_it(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make()
    identity = inspected(docker, name)["Id"]
    door = Door(box, person=Person(Approval(granted=True)), deny=(f"docker_rm(name={name})",))
    for given in (name, f"/{name}", identity, identity[:12], identity[:7]):
        result = await door.ask("docker_rm", name=given, force=True)
        assert isinstance(result, ActionDenied)
        assert f"docker_rm(name={name})" in result.message
    assert inspected(docker, name)["State"]["Running"] is True
    assert door.dispatch.denied == ("docker_rm",)
    assert not any(isinstance(event, ApprovalAsked | ToolStarted) for event in door.events)


async def test_a_deny_rule_by_image_holds_against_long_names_and_ids(box: LazyToolbox, docker: Docker) -> None:
    identity = docker("inspect", "-f", "{{.Id}}", "busybox:local")
    door = Door(box, person=Person(Approval(granted=True)), deny=("docker_run(image=busybox:local)",))
    for given in ("busybox:local", "docker.io/library/busybox:local", identity, identity.removeprefix("sha256:")[:8]):
        assert isinstance(await door.ask("docker_run", image=given, command="true"), ActionDenied)


async def test_an_allow_rule_lets_that_container_go_and_no_other(box: LazyToolbox, make: Make) -> None:
    web, other = make(), make()
    door = Door(box, allow=(f"docker_restart(name={web})",))
    result = await door.ask("docker_restart", name=f"/{web}", timeout=1)
    assert isinstance(result, str)
    assert result.startswith(f"{web} was restarted.")
    [allowed] = [event for event in door.events if isinstance(event, ToolAllowed)]
    assert allowed.call.arguments["name"] == web
    denied = await door.ask("docker_restart", name=other)
    assert isinstance(denied, ActionDenied)
    assert "there is no terminal to ask on" in denied.message
    assert denied.hint == f"to allow it: --allow 'docker_restart(name={other})'"
    assert [event.call.name for event in door.events if isinstance(event, ToolDenied)] == ["docker_restart"]


async def test_the_question_names_the_true_container_and_always_means_it(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make()
    person = Person(Approval(granted=True, always=True))
    door = Door(box, person=person)
    for given in (inspected(docker, name)["Id"][:12], f"/{name}"):
        assert isinstance(await door.ask("docker_restart", name=given, timeout=1), str)
    [question] = person.asked
    assert question.call.arguments["name"] == name
    assert question.rule == f"docker_restart(name={name})"
    assert question.effect == "write"


@pytest.mark.parametrize(
    ("tool", "arguments", "effect", "rule"),
    [
        ("docker_start", {"name": "sample-web"}, "write", "docker_start(name=sample-web)"),
        ("docker_stop", {"name": "sample-web"}, "write", "docker_stop(name=sample-web)"),
        ("docker_restart", {"name": "sample-web"}, "write", "docker_restart(name=sample-web)"),
        ("docker_rm", {"name": "sample-web"}, "destructive", "docker_rm(name=sample-web)"),
        ("docker_exec", {"command": "ls", "name": "sample-web"}, "destructive", "docker_exec(name=sample-web)"),
        ("docker_run", {"command": "ls", "image": "busybox:local"}, "write", "docker_run(image=busybox:local)"),
        ("docker_rmi", {"image": "busybox:local"}, "destructive", "docker_rmi(image=busybox:local)"),
        ("docker_pull", {"image": "docker.io/library/nginx:latest"}, "network", "docker_pull(image=nginx)"),
    ],
)
async def test_every_change_is_asked_about_by_what_it_acts_on(
    box: LazyToolbox, tool: str, arguments: dict[str, object], effect: str, rule: str
) -> None:
    person = Person(Approval(granted=False))
    result = await Door(box, person=person).ask(tool, **arguments)
    assert isinstance(result, ActionDenied)
    [question] = person.asked
    assert (question.effect, question.rule) == (effect, rule)
    read_only = Door(box, person=person, read_only=True)
    assert isinstance(await read_only.ask(tool, **arguments), ActionDenied)
    offered = [tool.name for tool in read_only.dispatch.offered_tools()]
    assert offered == [name for name in box.names if box.get(name).effect == "read"]
    assert len(person.asked) == 1


async def test_missing_container_is_reported_without_a_question(box: LazyToolbox) -> None:
    person = Person(Approval(granted=True))
    door = Door(box, person=person)
    missing = await door.ask("docker_rm", name="sample-wbe")
    assert isinstance(missing, EngineUnavailable)
    assert 'Did you mean "sample-web"?' in missing.message
    wrong = await door.ask("docker_run", image="busybox:local", privileged=True)
    assert isinstance(wrong, ToolError)
    assert person.asked == []


async def test_container_swapped_during_the_question_is_not_touched(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make()

    async def swap() -> None:
        docker("rm", "-f", name)
        docker("run", "-d", "--name", name, "--network", "none", "busybox:local", "sleep", "100")

    door = Door(box, person=Person(Approval(granted=True), swap))
    result = await door.ask("docker_rm", name=name, force=True)
    assert isinstance(result, ToolError)
    assert "is gone: it was removed after this was requested" in result.message
    assert inspected(docker, name)["State"]["Running"] is True


ON_A_CONTAINER: dict[str, dict[str, object]] = {
    "docker_logs": {},
    "docker_inspect": {},
    "docker_stats": {},
    "docker_start": {},
    "docker_stop": {},
    "docker_restart": {},
    "docker_rm": {},
    "docker_exec": {"command": "ls"},
}


async def test_no_spelling_of_a_container_gets_round_a_rule_that_denies_it(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make()
    identity = inspected(docker, name)["Id"]
    spellings = (name, f"/{name}", identity, identity[:12], identity[:7], identity[:4])
    for rule in (
        f"docker_*(name={name})",
        f"docker_*(name=/{name})",
        f"*(name={identity[:12]})",
        f"*(name={identity})",
    ):
        door = Door(box, person=Person(Approval(granted=True)), deny=(rule,))
        for tool, more in ON_A_CONTAINER.items():
            for given in spellings:
                result = await door.ask(tool, name=given, **more)
                assert isinstance(result, ActionDenied), (rule, tool, given, result)
        assert isinstance(await door.ask("docker_inspect", name="sample-web"), str)
    assert inspected(docker, name)["State"]["Running"] is True


async def test_use_of_all_containers_leaves_out_those_that_a_rule_denies(
    docker_host: str, make: Make, docker: Docker, tmp_path: Path
) -> None:
    web, other = make(), make()
    identity = inspected(docker, web)["Id"]
    for rule in (f"docker_stats(name={web})", f"docker_*(name=/{web})", f"docker_stats(name={identity[:12]})"):
        rules: tuple[Rule, ...] = (parse_rule(rule),)
        async with toolbox(workspace=tmp_path, docker_host=docker_host, restricting=rules) as restricted:
            result = await Door(restricted, deny=(rule,)).ask("docker_stats")
        assert isinstance(result, str)
        assert other in result
        assert web not in result
        assert result.endswith("1 container left out by a user rule.")


@pytest.mark.parametrize("tool", ["docker_run", "docker_rmi", "docker_pull"])
async def test_no_spelling_of_an_image_gets_round_a_rule_that_denies_it(
    box: LazyToolbox, docker: Docker, tool: str
) -> None:
    docker("tag", "busybox:local", "t-denied:latest")
    docker("tag", "busybox:local", "t-denied:other")
    try:
        identity = docker("inspect", "-f", "{{.Id}}", "busybox:local")
        spellings = ["t-denied", "t-denied:latest", "library/t-denied", "docker.io/t-denied"]
        spellings += ["docker.io/library/t-denied:latest", "index.docker.io/library/t-denied"]
        for rule in (*spellings, "t-den*", "docker.io/library/t-*"):
            door = Door(box, person=Person(Approval(granted=True)), deny=(f"{tool}(image={rule})",))
            for given in spellings:
                result = await door.ask(tool, image=given)
                assert isinstance(result, ActionDenied), (rule, given, result)
        if tool != "docker_pull":  # which fetches by name alone
            for rule in ("t-denied", identity, identity[7:19]):
                door = Door(box, person=Person(Approval(granted=True)), deny=(f"{tool}(image={rule})",))
                for given in ("t-denied:other", "busybox:local"):
                    assert isinstance(await door.ask(tool, image=given), ActionDenied), (rule, given)
    finally:
        docker("rmi", "t-denied:latest", "t-denied:other")


async def test_a_digest_that_is_not_here_is_denied_with_every_tag_of_its_name(box: LazyToolbox) -> None:
    digest = f"redis@sha256:{'0' * 64}"
    for rule, kind in (
        ("redis:7", ActionDenied),
        ("docker.io/library/redis", ActionDenied),
        ("postgres:16", ToolError),
    ):
        door = Door(box, person=Person(Approval(granted=True)), deny=(f"docker_pull(image={rule})",))
        assert isinstance(await door.ask("docker_pull", image=digest), kind), rule


async def test_a_container_that_is_named_like_the_id_of_another_is_never_taken_for_it(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make()
    identity = inspected(docker, name)["Id"]
    impostor = identity[:12]
    other = docker("run", "-d", "--name", impostor, "--network", "none", "busybox:local", "sleep", "1000")
    try:
        person = Person(Approval(granted=True))
        door = Door(box, person=person)
        stopped = await door.ask("docker_stop", name=name, timeout=1)
        assert isinstance(stopped, str)
        assert stopped.startswith(f"{name} was stopped")
        [question] = person.asked
        assert (question.call.arguments["name"], question.call.arguments["id"]) == (name, identity[:12])
        assert inspected(docker, other)["State"]["Running"] is True
        removed = await door.ask("docker_rm", name=impostor, force=True)
        assert removed == f"{impostor} was removed (it was running)."
        assert inspected(docker, name)["Id"] == identity, "the one whose id begins so is still there"
        denied = await Door(box, person=person, deny=(f"docker_rm(name={name})",)).ask("docker_rm", name=impostor)
        assert isinstance(denied, ActionDenied), "now the text means the beginning of an id"
    finally:
        docker("rm", "-f", impostor, check=False)
