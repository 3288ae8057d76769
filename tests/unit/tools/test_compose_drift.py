"""How a project's containers differ, and what a compose file says: decided without an engine."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agentctl.core.errors import ToolError
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.docker.compose import find_project, projects_of
from agentctl.tools.docker.compose_drift import Difference, Member, compare, compare_with_file, member_of
from agentctl.tools.docker.compose_file import (
    MOST_BYTES,
    ComposeFile,
    FileService,
    parse_compose_file,
    read_compose_files,
)
from agentctl.tools.toolbox import ToolContext

OLDER = ("shop-web-1", "another configuration than shop-web-2, which is newer")
IMAGES = {"web:1": "sha256:aaaaaaaaaaaaaaaa", "db:latest": "sha256:bbbbbbbbbbbbbbbb"}


def web(at: int, **said: Any) -> Member:  # noqa: ANN401
    """Return a container of the service web, made a second after the one with the number before."""
    made = Member(f"shop-web-{at}", "web", str(at), image="web:1", image_id=IMAGES["web:1"])
    return made._replace(**{"config_hash": "h", "created": at, **said})


def found(*members: Member) -> list[tuple[str, str]]:
    """Return the differences, each with its container, "" if it is of the service."""
    return [(difference.container, difference.what) for difference in compare(members, IMAGES)]


def test_containers_that_are_as_made_have_no_difference() -> None:
    assert found(web(1), web(2), web(3)) == []
    assert found() == []


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ((web(1, config_hash="old"), web(2)), [OLDER]),
        ((web(1, config_hash=""), web(2)), [OLDER]),
        (
            (web(1, image_id="sha256:cccccccccccccccc"),),
            [("shop-web-1", "runs cccccccccccc; web:1 is aaaaaaaaaaaa now")],
        ),
        ((web(1, image="web:0"), web(2)), [
            ("shop-web-1", "runs aaaaaaaaaaaa; no image here is called web:0 any more"),
            ("shop-web-1", "image web:0; shop-web-2 has web:1"),
        ]),
        ((web(1), web(3)), [("", "no container has the number 2 (they go up to 3)")]),
        ((web(1), web(2, number="1")), [("", "the number 1 is that of shop-web-1, shop-web-2")]),
        ((web(1, is_up=False, state="Exited (4)"),), [("shop-web-1", "not running: Exited (4)")]),
        ((web(1, files="/a old.yml"), web(2, files="/a b.yml")), [("shop-web-1", "made from other files: /a old.yml")]),
    ],
)  # fmt: skip
def test_each_difference_is_said_of_its_container(members: tuple[Member, ...], expected: list[tuple[str, str]]) -> None:
    assert found(*members) == expected


def test_image_that_is_pinned_or_known_by_its_id_only_has_no_tag_that_could_move() -> None:
    assert found(web(1, image=f"web@sha256:{'a' * 64}", image_id="sha256:cc"), web(2, image="")) == []


@pytest.mark.parametrize("number", ["", "0", "-1", "1e9", "99999999999999999999", "٣", "one"])
def test_number_that_is_none_is_no_gap(number: str) -> None:
    assert found(web(1), web(2, number=number)) == []


def test_number_of_a_stranger_makes_no_long_list() -> None:
    [(_, said)] = found(web(1, number="999999"))
    assert said == "no container has the number 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, … (they go up to 999999)"


def file_of(text: str) -> ComposeFile:
    """Parse a compose file."""
    return parse_compose_file(text.encode(), "compose.yml")


def against(text: str, *members: Member) -> list[Difference]:
    """Return the differences between containers and a file."""
    return list(compare_with_file(members, file_of(text)))


def test_file_tells_missing_services_orphans_images_and_numbers() -> None:
    text = """
services:
  web: {image: "web:2", deploy: {replicas: 3}}
  db: {image: db}
  once: {image: tool, profiles: [debug]}
  off: {image: tool, scale: 0}
"""
    assert against(text, web(1), Member("shop-cron-1", "cron", "1")) == [
        Difference("web", "", "1 container, and 3 in the file"),
        Difference("web", "shop-web-1", "image web:1, and web:2 in the file"),
        Difference("db", "", "in the file, but without a container"),
        Difference("cron", "shop-cron-1", "orphan: the file has no such service"),
    ]


def test_what_depends_on_variables_other_files_or_a_build_is_not_guessed() -> None:
    text = """
include: [more.yml]
services:
  web: {image: "web:${TAG:-2}", deploy: {replicas: "${N}"}}
  built: {build: .}
  other: {extends: {file: base.yml, service: other}}
"""
    members = (web(1), Member("a", "built", image="shop_built"), Member("b", "cron"))
    assert against(text, *members) == []


def test_anchors_and_merges_are_followed() -> None:
    text = """
x-base: &base {image: "web:2", scale: 2}
x-over: &over {image: "web:3"}
services:
  web: {<<: *base}
  two: {<<: [*over, *base]}
  own: {<<: *base, image: mine}
"""
    assert file_of(text).services == {
        "web": FileService("web:2", 2),
        "two": FileService("web:3", 2),
        "own": FileService("mine", 2),
    }


def test_tags_of_compose_are_read_over() -> None:
    assert file_of("services:\n  web: !override\n    image: !reset null\n").services["web"].image == "null"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just words",
        "- a\n- b",
        "services: [web]",
        "a: [",
        "services: &a\n  web: *b",
        "{" * 5000,
        "%YAML 9.9\n---\n",
        "\0",
    ],
)
def test_what_is_no_compose_file_says_so(text: str) -> None:
    with pytest.raises(ToolError, match=r"compose\.yml (has no services|cannot be read as YAML)"):
        file_of(text)


def test_bytes_that_are_no_text_and_a_long_file_are_refused() -> None:
    with pytest.raises(ToolError, match="cannot be read as YAML"):
        parse_compose_file(b"services: \xff", "a")
    with pytest.raises(ToolError, match="is longer than 128 KB"):
        parse_compose_file(b" " * (MOST_BYTES + 1), "a")


def test_merges_that_multiply_and_objects_that_run_do_nothing() -> None:
    levels = "\n".join(f"x{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}" for level in range(1, 40))
    services = "services:\n  web: *a39\n  run: !!python/object/apply:os.system [touch /tmp/x]\n"
    text = f"x0: &a0 {{image: web}}\n{levels}\n{services}"
    assert set(file_of(text).services) == {"web", "run"}


def test_merge_that_merges_itself_ends() -> None:
    assert set(file_of("services:\n  web: &w {<<: *w, image: a}\n").services) == {"web"}


def context(workspace: Path) -> ToolContext:
    """Return the context of a tool, without an engine."""
    return ToolContext(workspace, DockerEngine("unix:///nowhere"), lambda: datetime.now(UTC))


def test_several_files_count_as_one_and_the_later_wins(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("services: {web: {image: a, scale: 2}, db: {image: b}}")
    (tmp_path / "b.yml").write_text("services: {web: {image: c}}")
    found = read_compose_files(context(tmp_path), ["a.yml", str(tmp_path / "b.yml")])
    assert found == ComposeFile(("a.yml", "b.yml"), {"web": FileService("c", 2), "db": FileService("b")})


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.yml", "link.yml", "own/a.yml", "fifo", "none.yml", "a\0b", ""])
def test_file_outside_the_workspace_or_of_agentctl_is_not_read(tmp_path: Path, path: str) -> None:
    inside = tmp_path / "inside"
    (inside / "own").mkdir(parents=True)
    for place in (tmp_path / "a.yml", inside / "own" / "a.yml"):
        place.write_text("services: {web: {}}")
    (inside / "link.yml").symlink_to(tmp_path / "a.yml")
    os.mkfifo(inside / "fifo")
    with pytest.raises(ToolError):
        read_compose_files(context(inside)._replace(private=(inside / "own",)), [path])


FORGED = "x\x1b[31m\nNo difference was found.\r" + "y" * 1_000_000


def listed(project: str, name: str, **labels: str) -> dict[str, object]:
    """Return a container as an engine lists it."""
    named = {"com.docker.compose.project": project, "com.docker.compose.service": "web"}
    return {"Id": "a" * 64, "Names": [f"/{name}"], "State": "running", "Labels": named | labels, "Image": "web:1"}


def test_labels_of_a_stranger_stay_data() -> None:
    entry = listed(
        "shop", "web-1", **{"com.docker.compose.container-number": FORGED, "com.docker.compose.config-hash": FORGED}
    )
    member = member_of(entry, FORGED, "web:1")
    assert [difference.what for difference in compare([member], {"web:1": ""})] == []
    for broken in (
        {},
        {"Labels": 3, "Names": None, "Image": None, "ImageID": [1]},
        {"Labels": {"com.docker.compose.config-hash": 1}},
    ):
        assert member_of(broken, "web", "").config_hash == ""


def test_a_thousand_projects_are_told_apart_and_named_in_a_short_hint() -> None:
    entries = [listed(f"{FORGED}{count}", f"c{count}") for count in range(3)]
    entries += [listed(f"p{count:04}", f"d{count}") for count in range(1000)]
    projects = projects_of(entries)
    assert len(projects) == 1003
    assert find_project(projects, "p0500").name == "p0500"
    for name in (None, "nosuch", FORGED):
        with pytest.raises(ToolError) as caught:
            find_project(projects, name)
        assert "\n" not in caught.value.message + caught.value.hint
        assert len(caught.value.message + caught.value.hint) < 1500
