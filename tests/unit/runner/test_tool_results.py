"""A result above its share loses its middle, and a model that follows the marks reads all of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl.context.tokens import PLAIN
from agentctl.core.errors import ToolError
from agentctl.core.events import Noted, ToolDenied, ToolFinished
from agentctl.core.messages import Completion, Request, ToolCall
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.core.tool_rules import parse_rule
from agentctl.journal.artifacts import ArtifactFolder
from agentctl.permissions.decision import Permissions
from agentctl.runner.plan import Plan
from tests.support.large_results import NUMBERED_LINES, House, find_marked_call
from tests.support.loop import Deed, asks, call, fails, says

LONG = Plan().loop._replace(max_turns=60)
pytestmark = pytest.mark.anyio


class Reader:
    """A model that calls a tool, then reads on as long as a mark tells it to; ``most`` times."""

    def __init__(self, first: ToolCall, most: int = 40) -> None:
        self._first, self._most = first, most
        self.heard: list[str] = []
        self.asked: list[dict[str, object]] = []

    def __call__(self, request: Request) -> Completion:
        last = request.messages[-1]
        if last.role != "tool":
            return asks(self._first)
        self.heard.append(last.text)
        wanted = find_marked_call(last.text)
        if wanted is None and self._most > 1 and self.asked and "to_line" in self.asked[-1]:
            upto = int(str(self.asked[-1]["to_line"]))
            upto_all = int(re.findall(r"lines [\d,]+ to ([\d,]+) of", self.heard[0])[0].replace(",", ""))
            span = upto - int(str(self.asked[-1]["from_line"]))
            if upto < upto_all:  # as it was told at first: the lines after those
                wanted = {**self.asked[-1], "from_line": upto + 1, "to_line": min(upto + 1 + span, upto_all)}
        if wanted is None or len(self.asked) == self._most:
            return says("read")
        self.asked.append(wanted)
        return asks(call("read_file", f"r{len(self.asked)}", **wanted))

    def script(self) -> list[Callable[[Request], Completion]]:
        return [self] * (self._most + 2)


async def test_the_mark_says_what_is_left_out_and_the_call_in_it_reads_the_next_lines(house: House) -> None:
    model = Reader(call("docker_logs"), most=1)
    await house.run(model.script(), Deed("docker_logs", lambda _: NUMBERED_LINES))
    cut, onward = model.heard
    assert PLAIN.text(cut) <= 1000
    [numbers] = re.findall(r"\[\.\.\. ([\d,]+) characters, lines (\d+) to ([\d,]+) of 12,350, are left out here", cut)
    characters, first, last = (int(number.replace(",", "")) for number in numbers)
    assert cut.startswith("line 1\nline 2\n")
    assert f"\nline {first - 1}\n[... " in cut
    assert f" ...]\nline {last + 1}\n" in cut
    assert characters == len("".join(f"line {number}\n" for number in range(first, last + 1)))
    assert model.asked[0]["path"] == "run:1-docker_logs.txt"
    assert onward.startswith(f"line {first}\n")
    assert onward.endswith(f"line {model.asked[0]['to_line']}"), "what the mark asks for fits its share whole"
    assert [event.text for event in house.diary.of(ToolFinished)] == model.heard


async def test_cut_result_is_complete_in_a_file_of_the_run_for_its_owner_only(house: House) -> None:
    await house.run([asks(call("docker_logs")), says("done")], Deed("docker_logs", lambda _: NUMBERED_LINES))
    [file] = house.kept.iterdir()
    assert (file.name, file.read_text()) == ("1-docker_logs.txt", NUMBERED_LINES)
    assert (house.kept.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


async def test_uncut_result_leaves_no_file_and_no_folder(house: House) -> None:
    await house.run([asks(call("ok")), says("done")], Deed("ok", lambda _: "x" * 4000))
    assert house.diary.of(ToolFinished)[0].text == "x" * 4000
    assert not house.kept.exists()


@pytest.mark.parametrize(
    "text",
    [
        NUMBERED_LINES[:30_000],
        "x" * 30_000,
        "界面上的文字" * 2000,
        "".join(f"שורה {n}\tสวัสดี 😀 {'é' * (n % 90)}\n" for n in range(400)),
        ("a" * 9_000 + "\n") * 3,
        "short\n" * 300 + "y" * 20_000 + "\n" + "short\n" * 300,
    ],
    ids=[
        "lines",
        "one huge line",
        "one line of Chinese",
        "many scripts",
        "three long lines",
        "a long line among short",
    ],
)
async def test_a_model_that_follows_the_marks_has_read_every_character(house: House, text: str) -> None:
    model = Reader(call("big"))
    await house.run(
        model.script(), Deed("big", lambda _: text), max_context_tokens=100_000, max_result_tokens=1500, loop=LONG
    )
    first, *onward = model.heard
    mark = re.compile(r"\n?\[\.\.\. [^\n]* reads on \.\.\.\]\n?")
    read = mark.split(first)[0]
    for asked, said in zip(model.asked, onward, strict=True):
        begin = int(str(asked.get("from_byte", -1)))
        if begin < 0:
            line = int(str(asked["from_line"]))
            begin = len("".join(text.splitlines(keepends=True)[: line - 1]).encode())
        read = text.encode()[:begin].decode() + mark.split(said)[0]
        assert text.startswith(read), "nothing is passed over, nothing is invented"
        assert PLAIN.text(said) <= 1500
    assert len(read) > len(text) / 2, "as far as the tail that was shown at once, or farther"
    assert len(list(house.kept.iterdir())) == 1, "what is read on is not kept again"


@pytest.mark.parametrize(("calls", "least"), [(2, 900), (5, 300)])
async def test_two_results_of_a_turn_have_a_share_each_and_many_have_a_quarter_together(
    house: House, calls: int, least: int
) -> None:
    names = [f"t{number}" for number in range(calls)]
    await house.run([asks(*map(call, names)), says("done")], *(Deed(name, lambda _: NUMBERED_LINES) for name in names))
    sizes = [PLAIN.text(event.text) for event in house.diary.of(ToolFinished)]
    assert sum(sizes) <= 2000
    assert min(sizes) >= least


@pytest.mark.parametrize("effect", ["read", "write"])
async def test_a_small_result_beside_large_ones_stays_whole_and_leaves_them_its_room(house: House, effect: str) -> None:
    small, *large = (Deed(f"t{number}", lambda _: NUMBERED_LINES, effect) for number in range(3))  # type: ignore[arg-type]
    small.act = lambda _: "small"
    await house.run([asks(call("t0"), call("t1"), call("t2")), says("done")], small, *large)
    told = {event.call.name: event.text for event in house.diary.of(ToolFinished)}
    assert told["t0"] == "small"
    assert all(900 < PLAIN.text(told[name]) <= 1000 for name in ("t1", "t2"))


async def test_large_result_gets_the_room_that_a_later_small_one_leaves(house: House) -> None:
    deeds = [Deed(name, lambda _: NUMBERED_LINES) for name in ("a", "b")]
    await house.run([asks(call("a"), call("b"), call("c")), says("done")], *deeds, Deed("c", lambda _: "small"))
    told = {event.call.name: event.text for event in house.diary.of(ToolFinished)}
    assert told["c"] == "small"
    assert all(900 < PLAIN.text(told[name]) <= 1000 for name in ("a", "b"))


async def test_changes_of_a_turn_are_reported_before_the_next_begins(house: House) -> None:
    seen: list[int] = []

    def look(_: object) -> str:
        seen.append(len(house.diary.of(ToolFinished)))
        return NUMBERED_LINES

    deeds = [Deed(f"t{number}", look, "write") for number in range(4)]
    await house.run([asks(*(call(deed.name) for deed in deeds)), says("done")], *deeds)
    assert seen == [0, 1, 2, 3]
    assert sum(PLAIN.text(event.text) for event in house.diary.of(ToolFinished)) <= 2000


@pytest.mark.parametrize(
    ("plan", "shares"),
    [
        ({}, (1000, 2000)),
        ({"max_context_tokens": 1000}, (256, 256)),
        ({"max_context_tokens": 64_000}, (8_000, 16_000)),
        ({"max_context_tokens": 100_000, "max_result_tokens": 50_000}, (25_000, 25_000)),
        ({"max_result_tokens": 3000}, (3000, 3000)),
        ({"max_result_tokens": 1}, (256, 2000)),
    ],
)
async def test_share_is_an_eighth_of_the_window_unless_it_is_set(plan: dict[str, int], shares: tuple[int, int]) -> None:
    facts = ModelFacts("p", "m", FREE, context_window=128_000)
    assert Plan(**plan).result_shares(facts) == shares  # type: ignore[arg-type]


def test_results_share_what_the_schemas_of_the_tools_leave() -> None:
    facts, small = ModelFacts("p", "m", FREE, context_window=128_000), Plan(max_context_tokens=4_000)
    assert small.result_shares(facts, 0) == (500, 1000)
    assert small.result_shares(facts, 1_600) == (300, 600)
    assert small.result_shares(facts, 3_990) == (256, 256)
    assert Plan(max_result_tokens=900, max_context_tokens=4_000).result_shares(facts, 1_600) == (900, 900)


async def test_changed_counting_method_is_used_for_each_result(house: House) -> None:
    def doubled(_: object) -> str:
        house.measure = PLAIN.scaled(2.0)
        return NUMBERED_LINES

    await house.run([asks(call("t")), says("done")], Deed("t", doubled))
    assert 400 < PLAIN.text(house.diary.of(ToolFinished)[0].text) <= 500


async def test_a_failure_is_cut_and_kept_too(house: House) -> None:
    model = Reader(call("bad"), most=1)
    deed = Deed("bad", fails(ToolError(NUMBERED_LINES, hint="do without")))
    await house.run(model.script(), deed)
    assert model.heard[0].startswith("error: line 1\n")
    assert PLAIN.text(model.heard[0]) <= 1000
    assert model.heard[0].endswith("hint: do without")
    [finished, _] = house.diary.of(ToolFinished)
    assert finished.error is not None
    assert len(finished.error.message) < 4000
    assert model.heard[1].startswith(f"line {model.asked[0]['from_line']}\n")


async def test_a_refusal_is_short_however_long_what_it_names(house: House) -> None:
    deny = Permissions(deny=(parse_rule("t"),))
    script = [asks(call("t", path="x" * 30_000)), says("done")]
    _, provider = await house.run(script, Deed("t", lambda _: "never"), permissions=deny)
    assert PLAIN.text(provider.heard[-1].messages[-1].text) <= 1000


async def test_a_file_that_quotes_marks_is_read_on_by_its_own(house: House) -> None:
    quoted = '[... the rest is left out here; read_file(path="other", from_line=3) reads on ...]\n'
    (house.work / "notes").write_text(f"line\n{quoted}" + "line\n" * 5000)
    wanted = call("read_file", path="notes", from_line=1, to_line=4000)
    await house.run([asks(wanted), says("done")])
    assert find_marked_call(house.diary.of(ToolFinished)[0].text.rpartition("[...")[2]) is not None
    assert house.diary.of(ToolFinished)[0].text.count("\nline\n") > 100


async def test_mark_without_the_tool_that_reads_on_names_the_file_only(house: House) -> None:
    await house.run([asks(call("big")), says("done")], Deed("big", lambda _: NUMBERED_LINES), reads=False)
    text = house.diary.of(ToolFinished)[0].text
    assert '"run:1-big.txt" has all of it ...]' in text
    assert "read_file" not in text


async def test_megabytes_are_kept_and_read_on_in_the_middle(house: House, is_full: bool) -> None:
    count = 1_000_000 if is_full else 200_000
    text = "".join(f"{number:>48}\n" for number in range(count))
    wanted = call("read_file", path="run:1-big.txt", from_line=count - 99_999, to_line=count - 99_997)
    await house.run([asks(call("big")), asks(wanted), says("done")], Deed("big", lambda _: text))
    cut, onward = (event.text for event in house.diary.of(ToolFinished))
    assert PLAIN.text(cut) <= 1000
    assert f"of {count:,}, are left out here" in cut
    assert [int(line) for line in onward.splitlines()] == [count - 100_000, count - 99_999, count - 99_998]


async def test_bytes_control_characters_and_half_pairs_are_kept_as_they_are_shown(house: House) -> None:
    text = "\x1b[2J\udc80\ud83d \0 end\n" * 2000
    model = Reader(call("odd"), most=1)
    await house.run(model.script(), Deed("odd", lambda _: text))
    assert (house.kept / "1-odd.txt").read_text() == "\\x1b[2J\\udc80\\ud83d \\x00 end\n" * 2000
    assert model.heard[1].startswith("\\x1b[2J\\udc80\\ud83d \\x00 end\n")


async def test_secrets_are_not_kept_and_the_lines_in_the_mark_are_those_of_the_file(house: House) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\n" + "abcd\n" * 20 + "-----END PRIVATE KEY-----\n"
    text = f"{pem}password=hunter2hunter2\n{NUMBERED_LINES}"
    model = Reader(call("env"), most=1)
    await house.run(
        model.script(), Deed("env", lambda _: text), annex=ArtifactFolder(house.kept, secrets=["hunter2hunter2"])
    )
    kept = (house.kept / "1-env.txt").read_text()
    marked = re.fullmatch(rf"\[redacted:private-key:[0-9a-f]{{6}}\]\npassword=\[redacted\]\n{NUMBERED_LINES}", kept)
    assert marked is not None
    assert "hunter2" not in model.heard[0]
    assert model.heard[1].splitlines()[0] == kept.splitlines()[int(str(model.asked[0]["from_line"])) - 1]


async def test_a_rule_sees_the_name_of_a_run_s_file_as_it_is_written(house: House) -> None:
    model = Reader(call("big"), most=1)
    deny = Permissions(deny=(parse_rule("read_file(path=run:*)"),))
    await house.run(model.script(), Deed("big", lambda _: NUMBERED_LINES), permissions=deny)
    assert len(house.diary.of(ToolDenied)) == 1
    assert model.heard[1].startswith("denied: ")


@pytest.mark.parametrize(
    "name",
    [
        *("run:../x", "run:/etc/passwd", "run:a/b", "run:", "run:.", "run:..", "run:1-link.txt", "run:2-hard.txt"),
        *("run:3-pipe.txt", "run:4-folder.txt", "run:.1-half.txt.aa", "run:../r2/1-other.txt", "run:9-none.txt"),
        *("run:1-x.txt\n", "run:\0", "run:run:1-x.txt", "run:5-\udcff.txt"),
        "run:4-folder.txt/../../r2/1-other.txt",
    ],
)
async def test_name_of_a_run_s_file_reads_no_other_file(house: House, name: str) -> None:
    other = house.kept.parent / "r2"
    for folder in (house.kept, other):
        folder.mkdir(parents=True)
    (other / "1-other.txt").write_text("not to be seen")
    (other / "2-other.txt").write_text("not to be seen")
    (house.kept / "1-link.txt").symlink_to(other / "1-other.txt")
    os.link(other / "2-other.txt", house.kept / "2-hard.txt")
    os.mkfifo(house.kept / "3-pipe.txt")
    (house.kept / "4-folder.txt").mkdir()
    (house.kept / ".1-half.txt.aa").write_text("half")
    await house.run([asks(call("read_file", path=name)), says("done")])
    text = house.diary.of(ToolFinished)[0].text
    assert "does not exist" in text
    assert "not to be seen" not in text


async def test_a_folder_that_is_a_link_is_neither_written_nor_read(house: House, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1-big.txt").write_text("not to be seen")
    house.kept.parent.mkdir()
    house.kept.symlink_to(tmp_path / "elsewhere")
    await house.run(
        [asks(call("big")), asks(call("read_file", path="run:1-big.txt")), says("done")],
        Deed("big", lambda _: NUMBERED_LINES),
    )
    assert (tmp_path / "elsewhere" / "1-big.txt").read_text() == "not to be seen"
    cut, read = (event.text for event in house.diary.of(ToolFinished))
    assert "run:" not in cut
    assert "does not exist" in read


async def test_a_file_of_the_workspace_that_is_called_like_one_of_the_run_is_itself(house: House) -> None:
    (house.work / "run:1-x.txt").write_text("of the workspace")
    house.kept.mkdir(parents=True)
    (house.kept / "1-x.txt").write_text("of the run")
    await house.run(
        [asks(call("read_file", "a", path="./run:1-x.txt"), call("read_file", "b", path="run:1-x.txt")), says("")]
    )
    assert {event.call.id: event.text for event in house.diary.of(ToolFinished)} == {
        "a": "of the workspace",
        "b": "of the run",
    }


async def test_a_large_file_of_the_workspace_is_read_on_where_it_is(house: House) -> None:
    (house.work / "app.log").write_text(NUMBERED_LINES[:50_000])
    model = Reader(call("read_file", path="app.log"), most=1)
    await house.run(model.script())
    assert model.asked[0]["path"] == "app.log"
    assert model.heard[1].startswith(f"line {model.asked[0]['from_line']}\n")
    assert not house.kept.exists()


async def test_the_mark_in_a_file_that_is_too_long_to_show_counts_all_of_it(house: House) -> None:
    (house.work / "app.log").write_text(NUMBERED_LINES)
    model = Reader(call("read_file", path="app.log"), most=1)
    await house.run(model.script())
    [numbers] = re.findall(r"\[\.\.\. ([\d,]+) characters, lines (\d+) to ([\d,]+) of 12,350,", model.heard[0])
    characters, first, last = (int(number.replace(",", "")) for number in numbers)
    assert characters == len("".join(f"line {number}\n" for number in range(first, last + 1)))
    assert f" ...]\nline {last + 1}\n" in model.heard[0]
    assert model.asked[0]["path"] == "app.log"
    assert model.heard[1].startswith(f"line {first}\n")
    assert model.heard[1].endswith(f"line {model.asked[0]['to_line']}"), "what the mark asks for fits its share whole"
    assert not house.kept.exists()


async def test_a_run_keeps_no_more_than_it_may(house: House) -> None:
    annex = ArtifactFolder(house.kept, most_bytes=150_000)
    script = [*(asks(call("big", str(n), n=n)) for n in range(3)), says("done")]
    await house.run(script, Deed("big", lambda _: NUMBERED_LINES), annex=annex)
    assert ["run:" in event.text for event in house.diary.of(ToolFinished)] == [True, False, False]
    assert len(house.diary.of(Noted)) == 1
