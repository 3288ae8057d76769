"""The completion scripts of bash, zsh and fish, and the answers that they take.

A script passes the line up to the cursor, in the variables of Typer's own scripts, and gets words, or an exit code that
asks the shell for its own files (1) or folders (2). Scripts that Typer wrote for older versions get words as before.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from typer._click.shell_completion import CompletionItem, ShellComplete
from typer._completion_classes import BashComplete, FishComplete, ZshComplete

from agentctl.cli.options import canonical

FILES, FOLDERS = "file", "dir"
_CODES = {FILES: 101, FOLDERS: 102}

# A word of bash ends at a colon: what stands before it on the line must not be repeated.
_BASH = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" words status=0 head
    words=$(env _TYPER_COMPLETE_ARGS="$line" %(autocomplete_var)s=complete_bash "$1" 2>/dev/null) || status=$?
    COMPREPLY=()
    case $status in
        0) ;;
        101) compopt -o default; return ;;
        102) compopt -o dirnames; return ;;
        *) return ;;
    esac
    if [ -n "$words" ]; then mapfile -t COMPREPLY <<<"$words"; fi
    if [[ ${COMPREPLY[0]-} == *[:/] ]]; then compopt -o nospace; fi
    head=${line##*[[:space:]=]}
    if [[ $head == *:* && $COMP_WORDBREAKS == *:* ]]; then
        head=${head%%"${head##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$head"}")
    fi
}
complete -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local line="${(j: :)words[1,CURRENT]}" answer
    answer=$(env _TYPER_COMPLETE_ARGS="$line" %(autocomplete_var)s=complete_zsh %(prog_name)s 2>/dev/null)
    case $? in
        101) compset -P '--*='; _files ;;
        102) compset -P '--*='; _files -/ ;;
        0) eval $answer ;;
    esac
}

if [[ $funcstack[1] == _%(prog_name)s ]]; then
    %(complete_func)s "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function __%(prog_name)s_complete
    set -lx _TYPER_COMPLETE_ARGS (commandline -cp)
    set -lx _TYPER_COMPLETE_FISH_ACTION get-args
    set -l words (env %(autocomplete_var)s=complete_fish %(prog_name)s 2>/dev/null)
    set -l code $status
    set -l flag (string match -r -- '^--[^=]*=' (commandline -ct); or echo '')
    set -l begun (string replace -- "$flag" '' (commandline -ct))
    switch $code
        case 101
            string join -- \\n $flag(__fish_complete_path "$begun")
        case 102
            string join -- \\n $flag(__fish_complete_directories "$begun")
        case 0
            string join -- \\n $words
    end
end
complete --command %(prog_name)s --erase
complete --command %(prog_name)s --no-files --keep-order --arguments "(__%(prog_name)s_complete)"
"""


class _Words:
    """What the shells have in common: the words that fit, and who lists files."""

    #: Whether a value is offered with its flag where both are one word: ``--provider=openai``.
    joins = True

    def words(self) -> list[CompletionItem]:
        """Return the words that fit; exit with the code that asks the shell for its files or folders."""
        args, incomplete = self.get_completion_args()  # type: ignore[attr-defined]  # a mixin
        flag, mark, value = incomplete.partition("=")
        asked = [_own_name(word) for word in args], f"{_own_name(flag)}{mark}{value}"
        found: list[CompletionItem] = self.get_completions(*asked)  # type: ignore[attr-defined]
        for item in found:
            if item.type in _CODES:
                sys.exit(_CODES[item.type])
        if self.joins and mark and flag.startswith("--"):
            return [CompletionItem(f"{flag}={item.value}", help=item.help) for item in found]
        return found


class Bash(_Words, BashComplete):
    """Answers bash with a word per line."""

    source_template = _BASH
    joins = False  # a word of bash ends at "="

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor and the one at it; by COMP_WORDS from an older script."""
        args, incomplete = _from_line(self)
        if not args and not incomplete:
            with suppress(KeyError):  # no older script
                return super().get_completion_args()
        return args, incomplete

    def complete(self) -> str:
        """Return the answer."""
        return "\n".join(item.value for item in self.words())


class Zsh(_Words, ZshComplete):
    """Answers zsh with a command that it evaluates."""

    source_template = _ZSH

    def complete(self) -> str:
        """Return the answer."""
        found = [item for item in self.words() if item.value]
        if not found:
            return ""
        described = [
            item.value.replace(":", r"\:") + (f":{_one_line(item.help)}" if item.help else "") for item in found
        ]
        return f"local -a offered; offered=({' '.join(map(shlex.quote, described))}); _describe -V value offered"


class Fish(_Words, FishComplete):
    """Answers fish with a word per line, and its description behind a tab."""

    source_template = _FISH

    def complete(self) -> str:
        """Return the answer."""
        lines = [f"{item.value}\t{_one_line(item.help)}" if item.help else item.value for item in self.words()]
        return "\n".join(lines)


def _from_line(shell: Any) -> tuple[list[str], str]:  # noqa: ANN401 - Typer's function is a method of another class
    found: tuple[list[str], str] = ZshComplete.get_completion_args(shell)
    return found


def _own_name(word: str) -> str:
    """Return the flag that a synonym stands for; any other word as it is."""
    return f"--{canonical(word[2:])}" if word.startswith("--") else word


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


SHELLS: dict[str, Callable[..., ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}
