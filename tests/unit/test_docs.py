"""README and docs/: links, tables and the lines to type agree with the program."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator

import pytest
import typer  # noqa: TID251 - its parser is what reads the lines
import yaml

from agentctl.cli.ci.run_end import RunEnd
from agentctl.cli.ci.step_outputs import output_values
from agentctl.cli.exit_codes import ExitStatus
from agentctl.providers.builtin.match import LOOKUPS
from tests.support.command_parser import parse_command
from tests.support.docs_blocks import LANGUAGES, ROOT, Block, all_blocks, anchors, blocks, links, pages

README = pages()["README.md"]


def exit_codes(text: str) -> dict[int, str]:
    """Return the codes of a table, with their status."""
    rows = re.findall(r"^\| ([\d, ]+?) *\| (\w+) +\|", text, re.MULTILINE)
    return {int(code): status for codes, status in rows for code in codes.split(",")}


def lines_to_type() -> Iterator[tuple[str, str]]:
    """Return where each line with agentctl stands in a block, and the line."""
    for block in all_blocks():
        if block.language in {"bash", "shell", "console"}:
            lines = block.text.replace("\\\n", " ").splitlines()
            yield from ((block.place, line.removeprefix("$ ")) for line in lines)
        elif block.language == "yaml":
            yield from ((block.place, line) for line in run_steps(block))
    for page, text in pages().items():
        for line in re.findall(r"`(agentctl [^`]+)`", text):
            yield page, line


def run_steps(block: Block) -> list[str]:
    """Return the lines that a workflow of GitHub's or a job of GitLab's runs."""
    document = yaml.safe_load(block.text)
    jobs = document.get("jobs", document).values()
    steps = [step["run"] for job in jobs for step in job.get("steps", ()) if "run" in step]
    return [*steps, *(line for job in jobs for line in job.get("script", ()))]


def is_workflow(block: Block) -> bool:
    """Whether a block is a whole workflow of GitHub's: "on" is a truth value in YAML 1.1."""
    return True in yaml.safe_load(block.text)


def test_every_block_has_a_language_that_a_test_knows() -> None:
    assert {block.place: block.language for block in all_blocks() if block.language not in LANGUAGES} == {}


def test_links_lead_to_files_and_headings_that_exist() -> None:
    missing = []
    for page, path, anchor in links():
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            missing.append(f"{page}: {path}#{anchor}")
    assert missing == []


def test_readme_has_at_most_150_lines_and_the_two_commands() -> None:
    assert len(README.splitlines()) <= 150
    first, second = (block.text for block in blocks("sh"))
    assert (first.count("\n"), second.count("\n")) == (1, 1)
    assert first.strip().endswith('.venv/bin/agentctl run "How much disk is free?"')
    assert (ROOT / ".ci" / "run").read_text().strip().endswith(f"exec {second.strip()}")


def test_readme_links_to_every_page_of_docs() -> None:
    linked = {link.path for link in links() if link.page.startswith(("README", "docs/getting-started", "docs/ci"))}
    names = {path.removeprefix("docs/") for path in linked}
    ours = {page.removeprefix("docs/") for page in pages() if page.startswith("docs/")}
    assert ours - names <= {"formatting.md", "exit-codes.md"}  # of help's topics; docs/json.md leads to the first


def test_exit_codes_in_readme_and_ci_page_are_those_of_the_program() -> None:
    real = {int(status): status.shown for status in ExitStatus}
    assert exit_codes(pages()["docs/ci.md"]) == real
    few = exit_codes(README)
    assert len(few) == 7
    assert few.items() <= real.items()


def test_readme_counts_the_lookups_that_exist() -> None:
    assert README.count("about 60\nread-only") + README.count("about 60 read-only") == 1
    assert 35 <= len(LOOKUPS) <= 70


def agentctl_words(line: str) -> Iterator[list[str]]:
    """Return the words behind each ``agentctl`` of a shell line, up to the end of that command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] | None = None
    for piece in [*lexer, ";"]:
        if set(piece) <= set("|&;<>()"):
            if words is not None:
                yield words[:-1] if words[-1:] == ["2"] and piece == ">" else words
            words = None
        elif words is not None:
            words.append(piece)
        elif piece == "agentctl" or (piece.endswith("/agentctl") and "=" not in piece):
            words = []


def test_commands_in_docs_have_names_and_flags_that_exist() -> None:
    wrong = []
    for place, line in lines_to_type():
        for words in filter(None, agentctl_words(line)):
            try:
                parse_command(words)
            except typer.Exit:
                continue  # -V
            except (typer.TyperException, KeyError, IndexError) as error:
                wrong.append(f"{place}: agentctl {shlex.join(words)}: {error!r}")
    assert wrong == []


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.place)
def test_toml_in_docs_is_valid(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize(
    "block", [one for one in blocks("yaml") if not is_workflow(one)], ids=lambda block: block.place
)
def test_part_of_a_workflow_in_docs_names_outputs_and_reports_that_exist(block: Block) -> None:
    for name in re.findall(r"outputs\.(\w+)", block.text):
        assert name in output_values(RunEnd(ExitStatus.done))
    for job in yaml.safe_load(block.text).values():
        for kind, file in job.get("artifacts", {}).get("reports", {}).items():
            assert f"--{kind} {file} " in job["script"][0]


@pytest.mark.parametrize("block", [one for one in blocks("yaml") if is_workflow(one)], ids=lambda block: block.place)
def test_workflow_in_docs_installs_and_runs_agentctl(block: Block) -> None:
    document = yaml.safe_load(block.text)
    assert set(document) <= {"name", True, "jobs"}
    install, *commands = run_steps(block)
    assert install.startswith("pipx install ")
    assert any(command.startswith("agentctl run ") for command in commands)
    assert all(command.startswith("agentctl ") for command in commands)


def test_glossary_has_each_term_once_in_order() -> None:
    terms = re.findall(r"^\| ([a-z ]+) \| ", pages()["docs/glossary.md"], re.MULTILINE)[1:]
    assert terms == sorted(set(terms))
    assert len(terms) > 25


def rows_of(heading: str) -> list[list[str]]:
    """Return the rows below a heading of SECURITY.md, by columns, without the table's own heading."""
    section = pages()["SECURITY.md"].partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in lines[2:]]


def test_security_page_names_tests_that_exist_for_each_threat() -> None:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    real = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}
    assert set(re.findall(r"\btest_\w+", pages()["SECURITY.md"])) - real == set()
    threats, flaws = rows_of("Threats and tests"), rows_of("Flaws published of other agents")
    assert (len(threats) > 20, len(flaws) > 30) == (True, True)
    assert {len(row) for row in [*threats, *flaws]} == {3}
    assert [row for row in threats if "`test_" not in row[2]] == []
    assert [row for row in flaws if "`test_" not in row[2] and "does not apply, because" not in row[2]] == []
