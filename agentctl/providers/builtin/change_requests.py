"""Recognize tasks that ask for a change, and give the command to make it by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from agentctl.providers.builtin.lexicon import (
    ASKING,
    CHANGE_PHRASES,
    CHANGES,
    DAEMONS,
    DESCRIBING,
    HARMLESS,
    INDIRECT,
    IRREGULAR,
    MADE_UP,
    NOUNS,
    POLITE,
    READING,
    SHOWING,
    THOUGHTS,
    word_set,
)
from agentctl.providers.builtin.lookup import quote, quote_path
from agentctl.providers.builtin.parse import Word, is_near, is_path, split_words

_PARTS = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_DEFINITION = re.compile(r"(?:what is|what's|what are|whats|who is|who's) (?:an? )?[a-z]+(?<!ing)\W*")
_JOINED = re.compile(r"[;,&|:.!?>]\s|\b(?:and|then|but|also|plus|or|after|before)\b")  # of two clauses
_NO_FORMS = word_set("running runing swapping restarting settings setting building buildings")
_MAKING = word_set("write make create generate build run")  # a text, a list or a plan, which is no change
_FILLERS = word_set("make bring put get turn set spin")  # around the verb of the change
# A question that ends in such a verb asks about what happened.
_PAST = (
    r"(?:why|when|how often|how many times) (?!don't|dont|not )(?:\S+ ){2,5}"
    r"(?:restart|restarted|start|started|stop|stopped|killed|restarted last|started last)"
)
_NEGATIVE = word_set(
    "not don't dont never without except unless if when once twice times whenever until till every each while"
)
_WANTING = word_set("be get got getting have having want wants need needs sure must rather like")
_NOT_WANTED = word_set("is are was were been be that which have has recently last just most lately not")
_ENDS = word_set("and then please pls now again asap immediately first thanks")
_TRYING = word_set("try by mind consider about start begin suggest avoid")
_COMMANDS = word_set(
    """
    docker podman docker-compose podman-compose
    rm mv cp mkdir rmdir chmod chown chgrp ln systemctl apt apt-get dnf yum pip npm git
    umount useradd userdel usermod swapoff swapon killall pkill kill truncate unzip
    """
)
_ENGINE = {
    "restart": "restart",
    "bounce": "restart",
    "reload": "restart",
    "stop": "stop",
    "start": "start",
    "kill": "kill",
    "pause": "pause",
    "unpause": "unpause",
    "resume": "unpause",
    "remove": "rm",
    "delete": "rm",
    "rm": "rm",
}
_TRANSLATABLE = _ENGINE.keys() | word_set(
    "reboot shutdown poweroff terminate mkdir create pull prune cleanup clean purge"
)
_OTHER_OBJECTS = word_set(
    """
    service process project user server machine volume network port host package line word folder branch
    database
    """
)


class Change(NamedTuple):
    """A change that a task mentions, by its verbs in their plain form; not ``is_asked`` if it is a question."""

    verbs: tuple[str, ...]
    is_asked: bool = True
    is_quoted: bool = False


@cache
def _forms() -> dict[str, str]:
    """Map each form of a verb of change to its plain form, except forms that also describe something."""
    forms: dict[str, str] = {}
    for verb in sorted(CHANGES):
        for stem in (verb, verb + verb[-1], verb[:-1] if verb[-1] == "e" else verb):
            forms.update({stem + "ing": verb, stem + "ed": verb})
    forms |= {word: word for word in IRREGULAR}
    for word in DESCRIBING | _NO_FORMS:
        forms.pop(word, None)
    return forms | {verb: verb for verb in CHANGES}


def _plain_verb(part: str) -> str:
    """Return the verb of ``stopped`` or ``paused``."""
    stems = (part[:-2], part[:-1], part[:-3])
    return next((way for way in stems if way in CHANGES), part)


def find_change(task: str) -> Change | None:
    """Find the change that a normalized task mentions, or None; ``is_quoted`` if only quoted words do."""
    words = split_words(task)
    bare = " ".join(word.lower() for word, is_quoted in words if not is_quoted and not is_path(word))
    verbs = _verbs(bare)
    if verbs:
        parts = bare.split()
        is_question = bool(parts) and parts[0] in ASKING and not any(phrase in bare for phrase in INDIRECT)
        is_thought = any(thought in f"{bare} " for thought in THOUGHTS) and not _begins_with_order(parts)
        is_question = is_question or is_thought or _is_noun(task, parts, verbs)
        is_question = is_question or (
            verbs[0] in {"write", "make", "create", "generate"} and bool(MADE_UP & set(parts))
        )
        return Change(verbs, is_asked=not is_question)
    verbs = _verbs(" ".join(word.lower() for word, is_quoted in words if is_quoted))
    return Change(verbs, is_quoted=True) if verbs else None


def _begins_with_order(parts: Sequence[str]) -> bool:
    """Return whether the first word that is not polite asks for a change: ``please restart web and show it``."""
    first = next((part for part in parts if part not in POLITE), "")
    return first in CHANGES - _MAKING


def needs_thought(task: str) -> bool:
    """Return whether a normalized task asks for a method, a definition, a negative or two things: never a lookup."""
    lower = f"{task.lower()} "
    is_negative = (" not " in lower and " or not " not in lower) or "n't " in lower or "cannot " in lower
    is_negative = is_negative and not lower.startswith("why ")
    return (
        is_negative or _DEFINITION.fullmatch(task.lower()) is not None or any(thought in lower for thought in THOUGHTS)
    )


def _is_noun(task: str, parts: list[str], verbs: tuple[str, ...]) -> bool:
    """Return whether the only verb is not a request: ``last commit``, ``restart count``, ``show the install log``."""
    if len(verbs) > 1 or not parts:
        return False
    before = dict(zip(parts[1:], parts, strict=False)).get(verbs[0], "")
    after = dict(pairwise(parts)).get(verbs[0], "")
    if before in {"last", "latest", "previous", "which", "what", "next"} or after in NOUNS:
        return True
    if parts[0] == verbs[0] and parts[0] in _COMMANDS:
        return after in READING
    first = next((part for part in parts if part in SHOWING or part not in POLITE), "")
    return first in SHOWING and _JOINED.search(task.lower()) is None


def _verbs(text: str) -> tuple[str, ...]:
    if text.startswith(("why ", "when ", "how ")) and re.fullmatch(_PAST, text):
        return ()
    for phrase in HARMLESS:
        text = text.replace(phrase, " ")
    parts = _PARTS.findall(text)
    forms = _forms()
    found = [forms[part] for part in parts if part in forms]
    wants = bool(_WANTING & set(parts))
    following = [*parts[1:], "and"]
    for before, part, after in zip(["", *parts], parts, following, strict=False):
        is_end = after in _ENDS and before not in _NOT_WANTED
        is_wanted = (
            before in {"be", "get"} or (wants and is_end) or ("sure" in parts and before in {"is", "are", "stays"})
        )
        if (part == "restarting" and before in _TRYING) or (part in DESCRIBING and is_wanted):
            found.append(_plain_verb(part) if part in DESCRIBING else "restart")
    found += [phrase for phrase in CHANGE_PHRASES if phrase in text]
    return tuple(found)


def misspelt_change(words: Sequence[Word]) -> str | None:
    """Return the verb of change that an unknown word in the place of a verb probably means."""
    before = ""
    for word in words:
        lower = word.value.lower()
        if word.kind == "name" and len(lower) > 4 and before in {"", "and", "then", "to"}:
            for verb in sorted(CHANGES):
                if len(verb) > 4 and is_near(lower, verb) and lower[:-1] != verb:
                    return verb
        before = word.text
    return None


def manual_command(task: str, change: Change, words: Sequence[Word]) -> str | None:
    """Return the command that makes the change, if the task's words say enough for one."""
    parts = task.split()
    first = parts[0].lower()
    is_line = len(parts) > 1 and len(task) <= 120 and not {part.lower() for part in parts} & (POLITE | {"from", "into"})
    if first in _COMMANDS and first == parts[0] and is_line and (first != "kill" or parts[1][0] in "-0123456789"):
        return task
    if _NEGATIVE & {part.lower().strip(",.;:!?") for part in parts}:
        return None  # the command alone would be more than was asked for
    verb = next((verb for verb in change.verbs if verb in _TRANSLATABLE), change.verbs[0])
    texts = {word.text for word in words}
    actions = list(dict.fromkeys(_ENGINE.get(one, one) for one in change.verbs if one not in _FILLERS))
    if len(actions) > 1:
        actions.sort(key=lambda action: action == "rm")  # what is gone cannot be stopped
        return _engine_commands(actions, texts, words)
    names = [word.value for word in words if word.kind == "name" and word.value.lower() not in _forms()]
    numbers = [word.value for word in words if word.kind == "number"]
    files = [word.value for word in words if word.kind in {"file", "path"}]
    if verb in {"reboot", "shutdown", "poweroff"} and not names:
        return "reboot" if verb == "reboot" else "shutdown now"
    if verb in {"kill", "terminate"} and len(numbers) == 1 and not names and "port" not in texts:
        return f"kill {numbers[0]}"
    if verb in {"kill", "terminate"} and "process" in texts and len(names) == 1:
        return f"pkill {quote(names[0])}"
    if verb in {"delete", "remove", "rm"} and len(files) == 1 and not names and not numbers:
        return f"rm {'-r ' if 'folder' in texts else ''}{quote_path(files[0])}"
    if verb in {"create", "make", "mkdir"} and "folder" in texts and len(files + names) == 1:
        return f"mkdir {quote_path((files + names)[0])}"
    if files or numbers or len(names) > 1:
        return None
    return _engine_command(verb, texts, names)


def _engine_commands(actions: Sequence[str], texts: set[str], words: Sequence[Word]) -> str | None:
    """Return the commands for several actions on one container (``stop and remove web``), or None."""
    names = [word.value for word in words if word.kind == "name"]
    is_clear = len(names) == 1 and not any(word.kind in {"number", "file", "path"} for word in words)
    commands = [_engine_command(action, texts, names) if action in _ENGINE else None for action in actions]
    if not is_clear or not all(command and command.startswith("docker ") for command in commands):
        return None
    return " && ".join(filter(None, commands))


def _engine_command(verb: str, texts: set[str], names: list[str]) -> str | None:
    if verb == "pull" and names and ("image" in texts or ":" in names[0]):
        return f"docker pull {quote(names[0])}"
    if verb in {"prune", "cleanup", "clean", "purge"} and not names:
        kinds = [kind for kind in ("container", "image", "network", "volume") if kind in texts]
        return f"docker {kinds[0]} prune" if len(kinds) == 1 else None
    action = _ENGINE.get(verb)
    if action is not None and "project" in texts and len(names) == 1:
        return f"docker compose -p {quote(names[0])} {action}"
    if action is None or texts & _OTHER_OBJECTS:
        return None
    if "image" in texts:
        return f"docker rmi {quote(names[0])}" if action == "rm" and names else None
    if names and names[0].lower() in DAEMONS:
        return f"systemctl {action} {names[0]}" if action in {"restart", "start", "stop"} else None
    if names:
        return f"docker {action} {quote(names[0])}"
    if not {"all", "container"} <= texts or action not in {"stop", "restart"} or "{state}" in texts:
        return None
    return f"docker {action} $(docker ps -q{' --filter health=unhealthy' if '{health}' in texts else ''})"
