"""Find what a task names and an answer did not look at: a file of the workspace, or a container of the engine."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import NamedTuple

from agentctl.core.targets import Subject, Target, hidden_pattern
from agentctl.runner.answer_gate import is_refusal
from agentctl.runner.orchestrator import ListContainers
from agentctl.runner.plan import Plan
from agentctl.runner.routing import read_signs

_FILE_LOOKS = ("read_file", "search_files", "run_shell", "list_files")
_CONTAINER_LOOKS = ("docker_inspect", "docker_logs", "docker_ps", "docker_stats")
_MAKES = (
    r"(?:create|write|make|generate|save|touch|produce|export|dump|draft"
    r"|erstell\w*|erzeug\w*|generier\w*|schreib\w*|lege?|cr[ée]e[rz]?|écri\w*|crear?|escrib\w*|scriv\w*|maak)"
)
_SAVES = r"(?:schreib|speicher|écri|enregistre|escrib|guarda|scriv|salva)\w*"
_INPUT_WORDS = r"(?:of|from|for|about|in|with|on|and|then|using|than|like)"
_ARTICLE = r"(?:an?|any|every|each|some|ein(?:e[mnrs]?)?|(?:qu')?une?|una|uno)"
_NO_KIND = r"(?:to|into|at|after|before|inside|between|file|container|called|named)"
_WHAT_IS = r"(?:what(?:'s| is| are)|was (?:ist|sind)|qu'est-ce que?|qu[ée] es|(?:che )?cos'è|wat is)"
_GENERAL = re.compile(
    r"\b(?:usually|typically|generally|normally|commonly|in general|by (?:convention|default)|in theory|stands? for"
    r"|syntax|best practices?|what (?:would |will )?happens?)\b"
    r"|\A\W*how (?:to|(?:do|does|can|could|should|would|must) (?:i|you|we|one|people))\b"
    r"|\A\W*(?:wie (?:\w+ ){1,2}(?:man|ich)|comment (?:faire|écrire)|cómo (?:se|puedo))\b"
    r"|\A\W*(?:should|may|must) (?:i|we)\b"
    r"|\A\W*can (?:i|we) (?:\w+ly |just )?(?:delete|remove|commit|ignore|move|rename)\b"
    r"|\A\W*(?:please )?(?:translate|übersetze?|tradui[st]|traduce)\b.*[:\"'`“„«]"
    r"|\bwhat (?:does|do|would|will) (?:the command )?(?:[\"'`][^\"'`]*\s|"
    r"(?:awk|cat|chmod|chown|cp|docker|find|git|grep|head|less|ls|make|mv|podman|rm|sed|sort|tail|tar|wc)\s)"
    r"|\b(?:what|which)(?:'s| is)?(?: the| a)? (?:[a-z]+ )?command\b(?! (?:in|of|from|does|is)\b)"
    r"|\A\W*(?:please |can you |could you )*(?:write|give|suggest|show|tell|design|draft|compose|make|create|provide)\b"
    r"(?: me| us)? (?:an?|some) (?:[\w-]+ ){0,3}(?:commands?|one-liner|script|function|program|regex|regular expression"
    r"|snippet|query|sample|template|haiku|poem|song|joke|story|limerick)\b",
    re.IGNORECASE,
)
#: Files that every project calls the same, and what is asked about them without meaning one of them.
_WELL_KNOWN = re.compile(
    r"(?:Docker|Container|Make|Jenkins|Proc|Vagrant)file|readme(?:\.\w+)?|changelog(?:\.\w+)?|licen[cs]e(?:\.\w+)?"
    r"|package(?:-lock)?\.json|requirements\.txt|(?:docker-)?compose\.ya?ml|pyproject\.toml|cargo\.toml|go\.mod"
    r"|tsconfig\.json|setup\.py|index\.html|__init__\.py|nginx\.conf|\.[\w.-]+",
    re.IGNORECASE,
)
_OF_ITS_KIND = re.compile(
    r"\b(?:purpose|means?|meaning|belongs?|commit(?:ted)?|is it called|should|goes|good for|wofür|bedeutet)\b",
    re.IGNORECASE,
)
#: What a task asks about a container that is there. Many are called like a thing of its own: web, redis, test.
_OF_A_CONTAINER = re.compile(
    r"\A\W*(?:check|look at)\b"
    r"|\b(?:containers?|docker|podman|compose|services?|running|runs|up|down|alive|(?:un)?health\w*|ok(?:ay)?|fine|broken"
    r"|fail\w*|crash\w*|exit\w*|die[ds]?|dead|(?:re)?start\w*|stop\w*|kill\w*|(?:un)?pause\w*|logs?|errors?|warnings?"
    r"|status|state|stats|uptime|memory|ram|cpu|disk|ports?|image|version|volumes?|mount\w*|networks?|ip|address|env"
    r"|environment|variables?|inspect|slow|stuck|hang\w*|reach\w*|listen\w*|respond\w*|wrong|problems?|how long"
    r"|remove|delete|doing|läuft|laufen|neu|stoppe?|fehler|speicher|beende|zustand|marche|tourne|funciona)\b",
    re.IGNORECASE,
)
_OF_NO_CONTAINER = re.compile(
    r"\bdefault\b|\blatest (?:stable )?(?:version|release)\b|\bwhat (?:does|do|would|will)\b.*\b(?:do|mean)\b",
    re.IGNORECASE,
)
#: A task that changes something, and an answer to it that does not claim to have done so.
_CHANGES = re.compile(
    r"\A\W*(?:please )?(?:rename|move|mv|copy|cp|delete|remove|rm|git|chmod|append|add|put|replace|overwrite|truncate"
    r"|empty|start|stop|restart|lösche?|benenne?)\b",
    re.IGNORECASE,
)
_TELLS_HOW = re.compile(
    r"`|\b(?:can(?:'t|not)|can not|couldn't|could not|unable|not able|no tool|not allowed)\b", re.IGNORECASE
)
_MOST_LINES = 3  # of a task: a longer one may bring the text that it names


class Unseen(NamedTuple):
    """What a task names and an answer has not looked at, in words, and the tool to look with."""

    name: str
    tool: str
    advice: str

    @property
    def request(self) -> str:
        """The message that sends the answer back."""
        return f"Look at {self.name} first: call {self.tool}, then answer from what it returns."


async def find_unseen(
    answer: str,
    usable: Collection[str],
    *,
    task: str,
    plan: Plan,
    list_containers: ListContainers | None,
) -> Unseen | None:
    """Return the first file of the workspace, or container of the engine, that ``task`` asks about, else None.

    ``usable`` are the offered tools that run without a question. A task that asks in general, or to make the file, or
    that brings its text along, needs no look; nor does an ``answer`` that refuses, asks back, or says how to make a
    change instead of claiming it. A container's name counts only where the task asks what containers are asked.
    """
    if is_refusal(answer.strip()) or answer.rstrip().endswith("?"):
        return None
    if _CHANGES.match(task) and _TELLS_HOW.search(answer.replace("\u2019", "'")):
        return None
    if _GENERAL.search(task.replace("\u2019", "'")) or "```" in task or len(task.strip().splitlines()) > _MOST_LINES:
        return None
    tool = next((tool for tool in _FILE_LOOKS if tool in usable), None)
    for name in read_signs(task).files if tool else ():
        if _is_asked_about(task, name) and _is_there(plan.workdir, name) and not _is_hidden(name, plan):
            return Unseen(name, str(tool), f"give it the data (--input {name})")
    looks = [tool for tool in _CONTAINER_LOOKS if tool in usable]
    if not looks or list_containers is None or _OF_NO_CONTAINER.search(task):
        return None
    about = _OF_A_CONTAINER.search(read_signs(task).text) is not None
    words = set(re.findall(r"[A-Za-z0-9][\w.-]*", re.sub(r"\S*/\S*", " ", task)))
    words |= {word.rstrip(".-") for word in words}
    if not (words if about else any(map(_is_made_up, words))):
        return None
    for name in sorted(words & set(await list_containers()), key=task.find):
        if not (about or _is_made_up(name)):
            continue
        allowed = [tool for tool in looks if plan.permissions.decide(tool, "read", {"name": name}).kind == "allow"]
        if allowed and _is_asked_about(task, name):
            return Unseen(f"the container {name}", allowed[0], "pass its log through a pipe")
    return None


def _is_asked_about(task: str, name: str) -> bool:
    """Return whether a task is about this very thing: it does not ask to make it, nor about things of that kind."""
    named, thing = rf"[\"'`]?{re.escape(name)}\b", task.replace("\u2019", "'")
    made = rf"\b{_MAKES}\s+(?:(?!{_INPUT_WORDS}\b)[\w\"'-]+\s+){{0,8}}{named}|\bnew file:?\s+{named}|>\s*{named}"
    made += rf"|\b(?:into|as)\s+{named}|\b{_MAKES}\b.*\bto\s+{named}"
    made += rf"|\b{_SAVES}\b.*\b(?:in|nach|als|dans|sous|en|su)\s+{named}|{named}\W+anlegen\b"
    made += rf"|\b(?:run|pull|build)\s+(?:.*\bfrom\s+)?{named}|\b(?:need|want) an?\b.*\b(?:called|named)\s+{named}"
    in_general = rf"\b{_ARTICLE}\s+(?:(?!(?:{_INPUT_WORDS}|{_NO_KIND})\b)[\w-]+\s+){{0,2}}{named}"
    in_general += rf"|\A\W*{_WHAT_IS}\s+(?:the\s+)?{named}(?:\s+(?:used\s+)?for)?\W*\Z"
    in_general += r"|\bthe web\b" if name == "web" else ""
    if re.search(f"{made}|{in_general}", thing, re.IGNORECASE):
        return False
    return not (_WELL_KNOWN.fullmatch(name) and _OF_ITS_KIND.search(thing))


def _is_made_up(word: str) -> bool:
    """Return whether a word can hardly be anything but a name: ``db-1``, ``my_app``."""
    return re.search(r"\w[\d_-]|\d[a-z]", word) is not None and re.search("[a-z]", word, re.IGNORECASE) is not None


def _is_there(workspace: str, name: str) -> bool:
    root = os.path.realpath(workspace)
    path = os.path.realpath(os.path.join(root, name))  # noqa: PTH118 - a model's word, maybe no path
    try:
        return path.startswith(f"{root.rstrip('/')}/") and os.path.isfile(path)  # noqa: PTH113
    except (OSError, ValueError):
        return False


def _is_hidden(name: str, plan: Plan) -> bool:
    """Return whether a rule hides a file, or a question comes before each look at it."""
    permissions = plan.permissions
    target = Target("path", (name,), roots=(plan.workdir,))
    subject = Subject({"path": name}, {"path": target})
    patterns = map(hidden_pattern, (*permissions.deny, *permissions.ask))
    hides = any(pattern is not None and target.fits(pattern) for pattern in patterns)
    return hides or (
        permissions.why_withheld("read_file", "read") is None
        and permissions.decide("read_file", "read", {"path": name}, subject=subject).kind != "allow"
    )
