"""Hints for unknown flags and commands: what users of other tools mean by them, else the nearest one that exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from agentctl.core.text import did_you_mean

_Table = Mapping[tuple[str, str], tuple[str, ...]]

_SET_KEY = "agentctl providers set-key NAME"
_TASK = 'write the task as words: agentctl run "TASK"'
_ASKING = "agentctl help permission   says what runs, what asks and what is denied"
_RESUME = "agentctl runs resume   goes on with the last run; agentctl runs list   shows the others"
_BEHIND = "write the program and its flags behind --: agentctl mcp add NAME -- COMMAND"
_ADDRESS = "agentctl help setup   says how to name a server: OPENAI_BASE_URL, ANTHROPIC_BASE_URL, OLLAMA_HOST"

#: By command ("" is any): a flag that exists here, or a hint, and the flags of other tools that mean it.
_FLAGS: tuple[tuple[str, str, str], ...] = (
    ("costs", "--since 24h", "last-day day daily last-24h"),
    ("costs", "--since 7d", "last-week week weekly this-week"),
    ("costs", "--this-month", "last-month month monthly mtd"),
    ("costs", "--by", "g group group-by breakdown"),
    ("costs", "--by model", "model models per-model"),
    ("costs", "--by provider", "provider"),
    ("costs", "--by agent", "agent"),
    ("costs", "--output csv", "csv"),
    ("run", "--output jsonl", "jsonl ndjson stream-json json-lines events"),
    ("", "--json", "json-output output-json"),
    ("costs", "--fail-above", "budget max-cost limit threshold fail-over max"),
    ("costs", "--watch", "f follow live tail"),
    ("runs list", "--limit", "n last max max-count count number tail top"),
    ("providers test", "--free", "offline dry-run no-cost"),
    ("doctor", "--offline", "no-network local"),
    ("mcp add", "--env", "environment variable var envs"),
    ("mcp add", "--header", "headers http-header"),
    ("mcp add", "--url", "address endpoint uri server-url http"),
    ("mcp add", "leave it out: a program is started, an --url is reached by http", "t transport type"),
    ("mcp add", "leave it out: it is added to your own mcp.json", "s scope global user project g"),
    ("mcp add", _BEHIND, "args arg command cmd c y yes"),
    ("config set", "--unset", "delete rm clear reset"),
    ("models", "write the provider as a pattern: agentctl models anthropic/", "provider p"),
    ("", "--since", "from start after begin"),
    ("", "--until", "to end before"),
    ("", "--timezone", "tz utc"),
    (
        "",
        "--max-cost",
        "budget max-budget max-budget-usd budget-usd cost-limit cost max-spend spend-limit limit max-usd",
    ),
    ("", "--max-cost", "dollar-cap max-price cost-cap"),
    ("", "--max-tokens", "token-limit token-budget tokens max-total-tokens"),
    ("", "--max-turns", "max-steps max-iterations max-tool-calls turns steps iterations chain-limit cl step-limit"),
    ("", "--timeout", "max-time time-limit max-wall-time wall-time-limit deadline"),
    ("", "--workdir", "C cwd cd chdir dir directory working-dir working-directory work-dir workspace"),
    ("", "--deny", "disallowedTools disallowed-tools exclude-tools deny-tools disallow"),
    ("", "--tools", "T tool allowedTools allowed-tools"),
    ("", "--read-only", "plan safe no-write no-writes"),
    ("", "--no-network", "offline no-internet"),
    ("", "--label", "tag tags name title session-name metadata meta"),
    ("", "--provider", "backend vendor llm engine"),
    ("", "--model", "model-name model-id"),
    ("", "--agent", "agent-name agent-type"),
    ("", "--max-output-tokens", "max-completion-tokens max-response-tokens max-new-tokens"),
    ("", "--max-context-tokens", "num-ctx n-ctx ctx-size context-window context-length context-size"),
    ("", "--provider ollama", "ollama oss local"),
    ("", "--provider openai", "openai"),
    ("", "--provider anthropic", "anthropic claude"),
    ("", "--output", "output-format out-format form"),
    ("", "--verbose", "debug trace log-level"),
    ("", "--quiet", "silent"),
    ("", "--color", "colour colors"),
    ("", "--color never", "no-color no-colour no-colors nocolor nocolour plain"),
    ("", "--estimate", "cost-estimate preview"),
    ("", "--env-file", "dotenv env"),
    ("", "--config", "profile settings config-file"),
    ("run", "--schema", "json-schema output-schema response-schema response-format"),
    ("", "--task-file", "prompt-file message-file instructions instruction-file"),
    ("", "--input", "file files attach attachment read"),
    ("", "--input -", "stdin"),
    ("run", _TASK, "p print prompt task message msg t text e exec query prompt-interactive"),
    ("", f"{_SET_KEY}   (a key is never read from the command line)", "api-key apikey key token openai-api-key"),
    (
        "",
        f"{_SET_KEY}   (a key is never read from the command line)",
        "anthropic-api-key gemini-api-key openai-key secret",
    ),
    ("", _ADDRESS, "base-url api-base openai-api-base endpoint url api-url host"),
    ("run", "write it into the task: an agent has its own system prompt", "system system-prompt append-system-prompt"),
    ("run", _RESUME, "r session session-id no-session"),
    ("run", "redirect stdout to a file: > answer.txt", "output-file out output-last-message save"),
    ("run", "--temperature", "temp"),
    ("run", "leave it out: of the sampling options there is only --temperature", "top-p top-k top_p seed"),
    ("run", "leave it out: the answer streams on a terminal", "stream no-stream streaming"),
    ("run", "agentctl models", "list-models models"),
    ("", _ASKING, "yolo full-auto auto auto-approve auto-edit yes-always yes-to-all always-approve force no-confirm"),
    ("", _ASKING, "dangerously-skip-permissions dangerously-bypass-approvals-and-sandbox skip-permissions"),
    ("", _ASKING, "approval-mode permission-mode permission-prompts ask-for-approval a permissions trust-all-tools"),
    ("", _ASKING, "allow-all-tools allow-all no-sandbox unsafe privileged confirm no-ask no-approval no-approvals"),
    ("", _ASKING, "approve-all auto-accept accept-all accept-edits autoapprove allow-tool allowed-commands"),
    ("", _ASKING, "full-access danger-full-access unsandboxed sandbox-mode trust-workspace trust-all root"),
    ("", _ASKING, "write rw read-write writable allow-write internet net online"),
    ("agentctl", "agentctl --version", "v"),
    ("", "agentctl --version", "version"),
)

#: By group ("" is the root): what is meant, and the commands of other tools that mean it.
_COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("", _SET_KEY, "login signin auth key keys setkey api-key apikey credentials connect"),
    ("", "agentctl providers set-key --unset NAME", "logout signout"),
    ("", "agentctl models", "model price prices pricing"),
    ("", "agentctl runs show", "logs log last transcript"),
    ("", "agentctl runs list", "sessions session threads"),
    ("", _RESUME, "resume continue"),
    ("", "agentctl costs", "usage stats spend spending bill billing cost-report"),
    ("", "agentctl config show", "settings env preferences configuration"),
    ("", "agentctl help setup", "configure onboard quickstart"),
    ("", "agentctl config init", "init"),
    ("", "agentctl doctor", "status health healthcheck diagnose info diagnostics"),
    ("", "agentctl providers list", "whoami account"),
    ("", "agentctl providers test", "ping"),
    ("", "agentctl tools list", "functions capabilities"),
    ("", "agentctl mcp list", "servers mcp-servers"),
    ("", "agentctl help permission", "permissions approvals rules"),
    ("", "agentctl run --agent docker TASK", "docker podman containers"),
    ("", "agentctl completion bash", "completions autocomplete autocompletion"),
    ("", "agentctl help", "docs man manual topics"),
    ("", "agentctl schema", "schemas json-schema jsonschema"),
    ("", "agentctl run --estimate TASK", "estimate dry-run"),
    ("runs", "show", "log logs view cat get inspect describe last open transcript"),
    ("runs", "list", "history all recent sessions"),
    ("runs", "rm", "remove delete erase"),
    ("runs", "prune", "clean cleanup gc purge clear"),
    ("runs", "export", "share dump save html markdown publish"),
    ("runs", "watch", "follow tail attach live"),
    ("runs", "diff", "compare comparison difference differences"),
    ("runs", "agentctl run TASK", "start new create"),
    ("runs", _RESUME, "continue"),
    ("providers", "set-key", "add login auth key keys configure setup set register new"),
    ("providers", "agentctl providers set-key --unset NAME", "remove rm delete logout unset remove-key"),
    ("providers", "test", "ping check status verify"),
    ("providers", "list", "show all"),
    ("providers", "agentctl models", "models model prices"),
    ("providers", "agentctl config set llm_provider NAME", "use default set-default select switch choose"),
    ("config", "show", "list view print dump all cat"),
    ("config", "check", "validate lint verify test"),
    ("config", "path", "edit open where file location"),
    ("config", "agentctl config set --unset NAME", "unset rm remove delete reset clear"),
    ("config", "init", "new create"),
    ("ledger", "check", "verify status fsck validate"),
    ("ledger", "agentctl costs", "show list report"),
    ("ledger", "reprice", "price prices"),
    ("ledger", "migrate", "create init upgrade setup"),
    ("tools", "show", "info get describe view inspect help"),
    ("tools", "list", "all search"),
    ("mcp", "add", "add-json install new create register set enable"),
    ("mcp", "rm", "remove delete uninstall unset disable"),
    ("mcp", "show", "get info describe view inspect cat"),
    ("mcp", "list", "all servers"),
    ("mcp", "test", "status check ping connect doctor try"),
    ("mcp", "call", "run invoke exec use"),
    ("mcp", "pin", "lock freeze"),
    ("agents", "show", "info get describe view inspect help"),
    ("agents", "list", "all search"),
    ("agents", "new", "create add init write"),
    ("agents", "check", "validate lint verify test"),
    ("agents", "route", "explain which choose"),
    ("policy", "check", "test explain show try verify"),
)

#: Words of which the rest of the line is the task.
_VERBS = frozenset({"ask", "exec", "execute", "chat", "prompt", "query", "do", "task", "message", "start", "-p"})

#: Programs whose output users ask for: the line is a task.
_TASKS = frozenset({"ps", "df", "du", "top", "free", "uptime", "ss", "netstat", "lsof", "uname", "docker", "podman"})

#: Commands behind which names or keys may follow; any other word is a command only if it stands alone.
_WITH_NAMES = frozenset({"login", "signin", "auth", "logout", "key", "keys", "setkey", "api-key", "apikey", "model"})

#: What follows the name of a group: two such words are a command of another tool, not a task.
_SUBCOMMANDS = frozenset(
    {
        *("list", "ls", "show", "get", "set", "add", "rm", "remove", "delete", "new", "create", "init", "login"),
        *("logout", "split", "merge", "close", "keygen", "install", "uninstall", "enable", "disable", "serve"),
        *("pin", "export", "import", "watch", "prune", "migrate"),
    }
)
_RUN_ID = re.compile(r"[0-9a-f]{3,12}")


def flag_hint(option: str, command: str, known: Iterable[str], synonyms: Mapping[str, str]) -> str:
    """Return the hint for a flag that ``command`` ("run", "runs list") does not know, "" if nothing is near.

    ``known`` are its flags, ``synonyms`` the other names of flags. No flag that widens what a run may do is suggested.
    """
    flags = set(known)
    flags |= {synonym for synonym, flag in synonyms.items() if flag in flags}
    for meant in _meanings(_flag_table(), command, option.lstrip("-"), anywhere=True):
        if not meant.startswith("--"):
            return meant
        if meant.partition(" ")[0] in flags:
            return f'did you mean "{meant}"?'
    if not option.startswith("--"):
        return ""
    table = _flag_table().items()
    led = {f"--{word}": meant[0] for where in ("", command) for (place, word), meant in table if place == where}
    near = did_you_mean(option, (flag for flag in flags if flag.startswith("--")), led)
    return near or (_BEHIND if command == "mcp add" else "")


def command_hint(word: str, group: str, words: Sequence[str], known: Iterable[str]) -> str:
    """Return the hint for a command that ``group`` ("" is the root) does not know, "" if nothing is near.

    ``words`` are the arguments that are no flags. Words that no command explains are a task, to be quoted after
    ``run``. What follows a command about keys is not repeated: it may be one.
    """
    from agentctl.cli.run.command_words import COMMAND_WORDS
    from agentctl.settings.names import KEY_NAMES

    names = tuple(known)
    if group:
        meant = next(_meanings(_command_table(), group, word), "")
        meant = meant or COMMAND_WORDS.get(" ".join((group, word)), "")
        return _phrase(meant) if meant else did_you_mean(word, names)
    rest = words[1:] if list(words[:1]) == [word] else words
    if word.lower() in _VERBS and rest:
        return _run_line(rest)
    is_command = 0 < len(rest) < 3 and rest[0].lower() in _SUBCOMMANDS
    if word == "set-key" or (word in COMMAND_WORDS and (is_command or not rest)):
        return _phrase(COMMAND_WORDS[word])
    if word.lower() in ("logs", "log", "resume", "continue") and len(rest) == 1 and _RUN_ID.fullmatch(rest[0]):
        if word.lower() in ("logs", "log"):
            return _phrase(f"agentctl runs show {rest[0]}")
        return _phrase(f"agentctl runs resume {rest[0]}")
    if word.lower() in _TASKS and (rest or word.lower() not in ("docker", "podman")):
        return _run_line((word, *rest))
    if not rest or is_command or word.lower() in _WITH_NAMES:
        if word.lower() in _VERBS:
            return _phrase("agentctl run TASK")
        if meant := next(_meanings(_command_table(), "", word), ""):
            provider = next((each for each in rest if each in KEY_NAMES), "NAME")
            return _phrase(meant.replace("NAME", provider))
    near = "" if " " in word else did_you_mean(word, names)
    return near or (_run_line(words) if " " in word or (rest and not is_command) else "")


def _phrase(meant: str) -> str:
    """Return a command or the name of one as a question, any other hint as it is."""
    is_sentence = "   " in meant or (" " in meant and not meant.startswith("agentctl "))
    return meant if is_sentence else f'did you mean "{meant}"?'


def _run_line(words: Sequence[str]) -> str:
    return f"did you mean: agentctl run {shlex.quote(' '.join(words))}"


def _meanings(table: _Table, place: str, word: str, *, anywhere: bool = False) -> Iterator[str]:
    """Yield what a word means in this place, then ``anywhere``; the case of a single letter counts."""
    name = word.lower().replace("_", "-") if len(word) > 1 else word
    for where in (place, "") if anywhere else (place,):
        yield from table.get((where, name), ())


@cache
def _flag_table() -> _Table:
    return _by_word(_FLAGS)


@cache
def _command_table() -> _Table:
    return _by_word(_COMMANDS)


def _by_word(rows: Iterable[tuple[str, str, str]]) -> _Table:
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for place, meant, words in rows:
        for word in words.split():
            key = place, word if len(word) == 1 else word.lower()
            found[key] = (*found.get(key, ()), meant)
    return found
