"""The image: built from the Dockerfile, run in containers as hardened as platforms run them, and stopped."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentctl.core.version import __version__
from tests.support.docs_blocks import blocks
from tests.support.image import NAME, Image, built
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call

pytestmark = pytest.mark.slow

MOST_BYTES = 450 * 10**6
DISK = "How much disk is free?"
RUN = ("run", "--provider", "builtin", DISK)
HARDENED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
LINES = [
    line.removeprefix("$ ")
    for block in blocks("console")
    for line in block.text.replace("\\\n", " ").splitlines()
    if block.page == "docs/containers.md" and line.startswith("$ docker run ")
]
RANDOM_UID = ("--user", "1000650000:0")  # as OpenShift gives one
# Both, as bubblewrap makes namespaces and mounts a /proc.
NAMESPACES = ("--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Give the image, built for this file."""
    with built(tmp_path_factory.mktemp("image")) as found:
        yield found


@pytest.fixture
def volume(image: Image) -> Iterator[str]:
    """Give the name of a volume."""
    made = image.docker(["volume", "create"])
    try:
        yield made.out.strip()
    finally:
        image.docker(["volume", "rm", "-f", made.out.strip()])


def test_the_image_is_small_labelled_and_not_for_root(image: Image) -> None:
    (found,) = json.loads(image.docker(["image", "inspect", NAME]).out)
    assert found["Size"] < MOST_BYTES
    config = found["Config"]
    assert (config["User"], config["WorkingDir"], list(config["Volumes"])) == ("65532:65532", "/work", ["/state"])
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert labels["version"] == __version__
    assert {"title", "description", "licenses"} <= labels.keys()
    history = image.docker(["history", "--no-trunc", "--format", "{{.CreatedBy}}", NAME]).out
    assert "://" not in history


def test_the_image_has_agentctl_and_neither_pip_nor_what_built_it(image: Image) -> None:
    shell = image.with_options("--network", "none", "--entrypoint", "sh")
    modules = "import importlib.util as u; print([n for n in {} if u.find_spec(n)])"
    program = modules.format(["pip", "hatchling", "mcp", "opentelemetry.sdk", "psycopg", "cryptography", "litellm"])
    script = f'agentctl --version; /opt/agentctl/bin/python3 -c "{program}"; find /opt/agentctl /work -writable; id -u'
    ended = shell("-c", script)
    there = "['mcp', 'opentelemetry.sdk', 'psycopg', 'cryptography', 'litellm']"
    assert ended.out.splitlines() == [f"agentctl {__version__}", there, "/work", "65532"], ended.err


@pytest.mark.parametrize(
    "options",
    [
        ("--network", "none"),
        (*HARDENED, *RANDOM_UID),
        (*HARDENED, "--user", "1000:1000", "--tmpfs", "/tmp", "--tmpfs", "/state:mode=1777"),
        (*HARDENED, "--init"),
    ],
    ids=["plain", "hardened, another user", "hardened, state in memory", "hardened, with an init"],
)
def test_a_container_answers(image: Image, options: tuple[str, ...]) -> None:
    ended = image.with_options(*options)(*RUN)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("mounted on ")
    assert ended.err.splitlines()[-1].startswith("done · ")


def test_the_task_comes_from_stdin_and_the_document_goes_to_stdout(image: Image) -> None:
    ended = image.with_options(*HARDENED)("run", "--provider", "builtin", "--json", stdin=f"{DISK}\n")
    document = json.loads(ended.out)
    assert (ended.code, document["status"], document["task"]) == (0, "done", DISK)


def test_a_volume_keeps_the_record_and_a_read_only_one_is_refused(image: Image, volume: str) -> None:
    hardened = image.with_options(*HARDENED)
    assert hardened.with_options("-v", f"{volume}:/state")(*RUN).code == 0
    read_only = hardened.with_options("-v", f"{volume}:/state:ro")
    listed = json.loads(read_only("runs", "list", "--json").out)
    assert [run["status"] for run in listed["runs"]] == ["done"]
    refused = read_only(*RUN)
    assert (refused.code, refused.out) == (74, "")
    assert "error: the ledger /state/agentctl/ledger.db cannot be used: " in refused.err
    assert "\nhint: make it writable, or move it: AGENTCTL_STATE_DIR=" in refused.err
    other = hardened.with_options("-v", f"{volume}:/state", *RANDOM_UID)(*RUN)
    assert (other.code, other.err.splitlines()[0]) == (
        2,
        "error: state folder /state/agentctl belongs to another user (uid 65532)",
    )


@pytest.mark.needs("landlock")
def test_the_doctor_says_which_sandbox_a_container_has(image: Image) -> None:
    said, engine = {}, ""
    for name, options in {"usual": HARDENED, "with namespaces": (*HARDENED, *NAMESPACES)}.items():
        found = image.with_options(*options, "--tmpfs", "/tmp")("doctor", "--offline", "--json")
        rows = {row["about"]: row for row in json.loads(found.out)["checks"]}
        said[name], engine = rows["sandbox"]["said"], rows["engine"]["cure"]
    assert said["usual"].startswith("landlock works; ")
    assert "; not bwrap: " in said["usual"]
    assert said["with namespaces"].startswith("bwrap works; ")
    assert engine.startswith("start this container with -v /var/run/docker.sock:")


@pytest.mark.needs("landlock")
def test_docker_stop_ends_a_call_and_settles_it_and_no_zombie_is_left(
    image: Image, wire: OpenWire, volume: str
) -> None:
    server = wire(
        [Answer(calls=(Call("run_shell", {"command": "echo made >made; cat made"}),)), Answer("so", stall=True)]
    )
    options = [
        "--network",
        "host",
        *HARDENED[2:],
        "--tmpfs",
        "/tmp",
        "--tmpfs",
        "/work:mode=1777",
        "-v",
        f"{volume}:/state",
    ]
    given = ["-e", f"OPENAI_BASE_URL={server.openai_url}", "-e", "OPENAI_API_KEY=sk-image-0123456789abcdef"]
    started = image.docker(["run", "-d", *options, *given, NAME, "run", "--json", "-m", "openai/gpt-4o", "make it"])
    name = started.out.strip()
    try:
        assert server.books.wait(lambda books: len(books.chat_requests) == 2, 60), image.docker(["logs", name])
        for _ in range(3):
            image.docker(["exec", name, "sh", "-c", "sleep 0 &"])  # which process 1 gets
        assert "Z" not in image.docker(["top", name, "-eo", "pid,stat"]).out
        assert image.docker(["stop", "-t", "60", name]).code == 0
        assert image.docker(["wait", name]).out.strip() == "143"
        ended = image.docker(["logs", name])
    finally:
        image.docker(["rm", "-f", name])
    document = json.loads(ended.out)
    assert (document["status"], document["sandbox"], document["tools"][0]["failed"]) == ("interrupted", "landlock", 0)
    assert [line for line in ended.err.splitlines() if "the sandbox is landlock, because " in line]
    kept = image.with_options("--network", "none", "-v", f"{volume}:/state")
    checked = kept("ledger", "check", "--json")
    assert (checked.code, json.loads(checked.out)["ok"]) == (0, True), checked
    costs = json.loads(kept("costs", "--last-hour", "--json").out)
    assert costs["total"]["in_doubt_usd"] > 0


def test_each_line_of_the_page_works(image: Image, wire: OpenWire, tmp_path: Path) -> None:
    server = wire(Answer("It is fine."), repeat=True)
    (tmp_path / "app.log").write_text("out of memory\n")
    tmp_path.chmod(0o755)
    more = f"docker run --network host -e OPENAI_BASE_URL={server.openai_url} "
    socket = image.engine.host.removeprefix("unix://")
    environ = {**image.environ, "OPENAI_API_KEY": "sk-image-0123456789abcdef"}
    for line in LINES:
        script = line.replace("docker run ", more, 1)
        script = script.replace("/var/run/docker.sock:", f"{socket}:")
        script = script.replace("%g /var/run/docker.sock", f"%g {socket}")
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert done.stdout.strip()
    assert len(LINES) == 8
    assert len(server.books.chat_requests) == sum("OPENAI_API_KEY" in line for line in LINES)
