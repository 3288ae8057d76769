"""Why a person has to decide on the words of a program that a rule for shell commands names. Pure.

A word that the rule spells is its writer's own choice; one that a wildcard stands for is judged by ``known_programs``.
"""

from __future__ import annotations

import re

from agentctl.permissions.known_programs import (
    CHANGES_THE_PLACE,
    GIT_BEFORE,
    GIT_OPTIONS,
    GIT_READS,
    GIT_RUNS,
    GIT_SAFE_LINES,
    INTERPRETERS,
    READERS,
    RESERVED,
    RUNS,
    SCRIPTS,
    TAKE_ONE_SCRIPT,
    Words,
)


def unwrapped(words: Words) -> Words | None:
    """Return the command that a known wrapper runs, without the wrapper; None: there is no such wrapper."""
    match words:
        case ("timeout", limit, *rest) if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?[smhd]?", limit) and rest:
            inner = rest
        case ("nice", "-n", level, *rest) if re.fullmatch(r"-?[0-9]{1,2}", level) and rest:
            inner = rest
        case ("nice" | "command", *rest) if rest:
            inner = rest
        case _:
            return None
    return None if inner[0].startswith("-") or inner[0] in RESERVED else tuple(inner)


def _plain_name(name: str) -> str:
    """Return the name of a program without its version: ``python`` for ``python3.12``."""
    return re.sub(r"[-.]?[0-9][0-9.]*$", "", name)


def is_runner(written: str) -> bool:
    name = written.rpartition("/")[2]
    return name not in READERS and (name in RUNS or _plain_name(name) in RUNS)


def why_refused(words: Words, spelled: tuple[bool, ...], *, alone: bool) -> str:
    """Return why the words that are not ``spelled`` in the rule need a person, or "".

    ``alone``: the command is not joined with others, which could feed a program or change the folder that it starts in.
    """
    written = words[0]
    name = written.rpartition("/")[2]
    plain_name = _plain_name(name)
    if not alone and name in CHANGES_THE_PLACE:
        return f"{name} changes where the other commands start"
    if not alone and _runs_what_it_reads(name, plain_name, words):
        return f"{name} would run what other commands give it"
    is_known = name in READERS or is_runner(name)
    if all(spelled) or (words[1:] == ("--version",) and is_known and "/" not in written):
        return ""
    if not spelled[0] and "/" in written:
        return f"{written} is a program of its own folder, which only a rule with its name covers"
    inner = unwrapped(words)
    if inner is not None:
        return why_refused(inner, spelled[len(words) - len(inner) :], alone=alone)
    if name == "git":
        return _git_refusal(words, spelled)
    if name in READERS:
        return _reader_refusal(name, words[1:], spelled[1:])
    if name in INTERPRETERS or plain_name in INTERPRETERS:
        return "" if _has_script(words, spelled) else f"{name} runs what its words say, so a rule must spell the script"
    if is_runner(written):
        return f"{name} can run other programs, load code or connect, so a rule must spell each word"
    return "" if spelled[0] else f"{name} is not known to only read"


def _runs_what_it_reads(name: str, plain_name: str, words: Words) -> bool:
    if name in INTERPRETERS or plain_name in INTERPRETERS or name in ("xargs", "parallel", "entr"):
        return True
    return name in RUNS and name not in READERS and any(word.rpartition("/")[2] in INTERPRETERS for word in words)


def _reader_refusal(name: str, words: Words, spelled: tuple[bool, ...]) -> str:
    if name in SCRIPTS:
        script = next((place for place, word in enumerate(words) if not word.startswith("-")), None)
        if script is None or (not spelled[script] and not re.fullmatch(SCRIPTS[name], words[script], re.ASCII)):
            return f"{name} may run or write with that script"
        spelled = tuple(place == script for place in range(len(words)))
    word = READERS[name].refused_word(words, spelled)
    return "" if word is None else f"{name} {word} is not known to only read".replace("  ", " ")


def _has_script(words: Words, spelled: tuple[bool, ...]) -> bool:
    name = words[0].rpartition("/")[2]
    if len(words) < 2 or not spelled[1] or not {name, _plain_name(name)} & TAKE_ONE_SCRIPT:
        return False
    return not words[1].startswith("-") and ("." in words[1] or "/" in words[1])


def _git_refusal(words: Words, spelled: tuple[bool, ...]) -> str:
    at = 1
    while at < len(words) and words[at].startswith("-"):
        if not spelled[at] and words[at] not in GIT_BEFORE:
            return f"git {words[at]} can set what git runs or reads"
        at += 1
        if words[at - 1] in ("-c", "-C", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--config-env"):
            if at < len(words) and not spelled[at]:
                return f"git {words[at - 1]} can set what git runs or reads"
            at += 1
    if at >= len(words) or GIT_SAFE_LINES.fullmatch(" ".join(words[at:])):
        return ""
    subcommand = words[at]
    wild = [word for word, own in zip(words[at + 1 :], spelled[at + 1 :], strict=True) if not own]
    if subcommand in GIT_READS:
        for word in wild:
            long = word.startswith("--") and word != "--" and word[2:].partition("=")[0] not in GIT_OPTIONS
            short = word.startswith("-") and not word.startswith("--") and "O" in word
            if long or short or "%G" in word or "%(signature" in word:
                return f"git {subcommand} {word} is not known to only read"
        return ""
    if not spelled[at]:
        return f"git {subcommand} is not known to only read"
    if subcommand in GIT_RUNS and wild:
        return f"git {subcommand} can run other programs or connect, so a rule must spell each word"
    option = next((word for word in wild if word.startswith("-")), None)
    return "" if option is None else f"git {subcommand} {option} is an option that no rule covers with a wildcard"
