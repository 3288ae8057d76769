"""The written topics of ``agentctl help``: setup, budget, permission, context."""

from __future__ import annotations

from agentctl.settings import ENV_NAMES, Settings
from agentctl.settings.names import flag_name

_SETUP = """\
agentctl works without setup: builtin, the provider that nobody has to configure, answers read-only questions
about this machine and its containers. It is no language model: it matches your words to a declared list of
lookups, sends nothing anywhere and costs nothing.

  agentctl run "How much disk is free?"
  agentctl run "List all containers"

A language model does the rest. Ollama, on this host, free:

  ollama pull llama3.1
  agentctl run --provider ollama "Which container uses the most memory, and why?"

OpenAI (the key is asked for and saved for you alone; or export OPENAI_API_KEY):

  agentctl providers set-key openai
  agentctl run --provider openai "Which container uses the most memory, and why?"

Anthropic:

  agentctl providers set-key anthropic
  agentctl run --provider anthropic "Which container uses the most memory, and why?"

Any server that speaks OpenAI's format; its prices, in dollars per million tokens, go into config.toml:

  [prices]
  "openai/NAME" = { input = 0, output = 0 }

  OPENAI_BASE_URL=http://127.0.0.1:8000/v1 agentctl run --model openai/NAME "Why is the disk so full?"

With one key set, --provider may be left out. Who can answer, at what price, who would now, and what is missing here:

  agentctl doctor                says what a run would use, and a line to paste for each thing that lacks
  agentctl providers list
  agentctl providers test        tries out what is set up, for a few hundredths of a cent; --free for nothing

Containers need a running engine. agentctl asks the one that docker would ask: DOCKER_HOST, then docker's
current context, then the usual socket.

Settings come from flags, then the environment, then --env-file, then the project's files if you trust them, then
the user's .env, then the user's config.toml, then defaults. These show what holds, where it came from and where the
files are; config set changes one line of config.toml, config init writes a commented one:

  agentctl config show
  agentctl config check
  agentctl config path
  agentctl config set max_cost_per_task 0.25

Limits hold for every run, and are never passed ("none" lifts one):

  max_cost_per_task    0.50 USD     --max-cost 0.50      MAX_COST_PER_TASK=0.50
  max_cost_per_hour    10.0 USD     --max-cost-per-hour  MAX_COST_PER_HOUR=10.0
  max_tokens_per_task  100000       --max-tokens 100000  MAX_TOKENS_PER_TASK=100000

A .env or .agentctl.toml in the working directory may only tighten them, until you trust it: agentctl trust

More: agentctl help budget, permission, environment, formatting, exit-codes
"""


def setup_text() -> str:
    """Return the topic's text."""
    return _SETUP


_LIMITS = {
    "max_cost_per_task": "USD",
    "max_cost_per_hour": "USD",
    "max_tokens_per_task": "tokens",
    "max_cost_per_minute": "USD",
    "max_cost_per_day": "USD",
    "max_cost_per_month": "USD",
    "max_calls_per_minute": "calls",
}

_BUDGET = """\
What is promised: no request is sent unless, in one transaction of the ledger, what is spent + in doubt + held + the
request's own worst case stays within every limit: its run's dollars, its run's tokens, those of each run above it, and
the dollars of the last hour (and of any other window that is set) over all runs of this user. It assumes that the price
table is right, that the model that was asked answers or one that costs no more, that the provider keeps to the most
output tokens it was given, bills a request at most once for the usage it reports and no refused request, and that the
wall clock is right across a reboot. What breaks an assumption is recorded in full and stops the spending.

LIMITS
"none" lifts one limit; a warning comes at 80 %. Minute, hour, day (24 hours) and month (30 days) are windows that move
along; each binds the runs that carry it, over the spending of all. The calls of a minute are the run's own.

  agentctl run --max-cost 0.10 "Which container uses the most memory, and why?"
  agentctl run --max-cost 0.10 --max-cost-per-hour 1 --max-tokens 20000 "Why is the disk so full?"
  agentctl run --max-cost 0 "Why is the disk so full?"          free models only
  agentctl run --estimate "Why is the disk so full?"            what it could cost; nothing is sent

The words:

  hold       the worst case of a request, reserved before it is sent; other runs see it at once
  charge     what it cost, written as soon as the usage is known; the rest of the hold is free again
  in doubt   sent, and nobody knows what it cost (connection lost, process killed): counts as spent, at the worst case
  void       surely free: no byte of the request was sent, or the provider refused it

How a request goes: its input is bounded from above and priced; as much output as fits all limits is granted, and goes
out as its most output tokens; it is held, sent, settled. The first answer may have 4096 output tokens (with reasoning
16384); each later turn asks for four times the longest output so far, at least 1024 (4096). An answer that this cuts is
asked for once more with up to the double; --max-output-tokens sets one number for all. Each retry is a request of its
own. A usage report above the hold is recorded in full and ends the run; from then on the model's ceiling is held. One
that contradicts itself is in doubt, and never counts less than what it says. If other runs' holds are in the way it
waits (--budget-wait, 60 s). Two requests in doubt in a row for a model at one address: then a pause, and one probe.
stderr says what is waited for, and how long at most.

A limit trips (exit 3): the request was not sent. From the second turn on some of each limit (an eighth at most) is set
aside for one more, short and without tools, in which the model says what it found; where there is no room for that, the
notes of agentctl itself are shown. stderr names the limit, both numbers, when there is room again, and a whole line to
paste. Then: raise that limit, or wait, or ask for less. A model is told what is left at 50 % and at 80 % of a limit.

  agentctl costs --last-hour                what was spent, by run, and what is left of the hour
  agentctl costs --since 2h --json
  agentctl costs --this-month --by day,model
  agentctl costs --today --label team=web --fail-above 5    exit 3 if more was spent: a gate for CI
  agentctl ledger check                     verify each admission and each charge; what is held, and what is in doubt
  agentctl ledger reprice --since 7d        what it would have cost at today's prices, those of a file, or another model
  agentctl ledger reconcile --run ID --actual 0      give back what is in doubt, once you know that it cost nothing
  agentctl ledger reconcile --from usage.csv         or what the provider's usage export says that it cost
  agentctl ledger reconcile --clock                  believe the wall clock again, after it was wrongly ahead
  agentctl runs show                        each call of the last run, with its tokens and its price

Nested runs: a run that a command of another run starts (--sandbox none) belongs to it. Whatever its own limits are,
each of its requests counts in the run that started it, and in each run above that; the one whose limit refuses is
named. Once a run above has ended, or its process is gone, nothing more is sent (exit 5). It needs the same state
folder, and the AGENTCTL_PARENT_RUN and AGENTCTL_PARENT_CAPABILITY that its parent set. In a sandbox the ledger cannot
be seen: there no run starts (exit 5). `runs show` draws the tree, `costs --run ID` adds it up.

If the ledger is locked or its disk is full when a paid answer comes, the run waits (for a lock up to two minutes), and
then ends with 74: the charge is kept beside the ledger, and the next run settles it.

A model without a known price is refused under a dollar limit (exit 2), with the lines to add to config.toml. Free is
declared: builtin, Ollama on this host, or a price of 0 of yours. Prices are read offline, from litellm's table, with
yours on top:

  agentctl providers list

If another model answers than was asked, the charge is at the dearer price, and from then on so is every hold for that
model name at that address; if the price of the one that answered is unknown, the next request is refused:

  agentctl ledger check                     who answered in the place of whom
  agentctl ledger reconcile --clear-substitute PROVIDER/MODEL      hold its own price again

A request is bounded by its bytes, or by what the one before it was reported as and what is new. Where that would
shorten an answer, wait or trip, OpenAI's own models at OpenAI's own address are counted by their vocabulary instead,
until one reports more than was counted:

  agentctl ledger reconcile --clear-miscount PROVIDER/MODEL        count its input again

Where CI is set the ledger is this runner's only: the hour's limit does not see other runners.
"""


def budget_text() -> str:
    """Return the topic's text."""
    defaults = Settings.model_construct()
    lines = ""
    for field, unit in _LIMITS.items():
        default = getattr(defaults, field)
        value = f"unset ({unit})" if default is None else f"{default} {unit}"
        lines += f"  {field:<21} {value:<14} {flag_name(field):<23} {ENV_NAMES[field][-1]}\n"
    return _BUDGET.replace("LIMITS", lines, 1)


_PERMISSION = """\
Each call of a tool is one of four kinds: read, write, destructive or network. Reads run. So do changes that stay inside
the workspace or a sandbox. Every other change (the container engine, what lies outside) asks a person; where none is
there it is denied, the model is told why, and the run ends with 5.

  agentctl tools list                       each tool, its kind, and whether a call runs, asks or is denied
  agentctl tools show docker_restart        its arguments, and the rule to allow it
  agentctl policy check 'docker_restart(name=web)'
  agentctl policy check --read-only 'docker_restart(name=web)'

Rules name a tool and, in brackets, what some of its arguments are; what is not named may be anything. * stands for any
text and ? for one character; a value with a comma or a bracket stands in double quotes.

  docker_restart                    any call of this tool
  docker_restart(name=web)          with this value
  docker_rm(name=web-*)             with any that begins so
  docker_*                          every tool whose name begins so
  write_file(path="a, b.txt")       a value with a comma

A rule that denies or asks means the thing, whatever the model calls it: a container by name or id, an image by any tag,
digest or id, a path in any spelling, through links, hard links, other case or Unicode form. Arguments that the model
leaves out count with their defaults. docker_stats without a name leaves out containers that such a rule is about. An
allow rule looks at the true name alone (web, not its id; nginx, not docker.io/library/nginx:latest).

A deny rule on the path of read_file, list_files or search_files, with no other argument, hides the path:

  agentctl run --deny 'read_file(path=secrets/*)' "Review this project"

No file tool reads, lists, searches or writes it, docker_run cannot mount the workspace, and sandboxed commands find an
empty file or folder in its place (names in a folder may still show). A rule on a folder covers all in it; * also
matches /. A deny rule on write_file(path=...) keeps what exists from being written, by commands too. Not hidden: what
git has committed (deny the path .git as well), copies of the content elsewhere, files that a command makes later in the
same command, and everything with --sandbox none.

A deny pattern on a shell command is no control: the same command can be written in countless ways. To keep commands
from something, deny run_shell, or rely on the sandbox.

First the deny rules, then the ask rules, then the allow rules; being specific does not matter. --allow adds and never
restricts; --deny, --read-only and --tools restrict. A name that does not exist is an error, so that no slip allows what
it meant to forbid.

  agentctl run --allow 'docker_restart(name=web)' "Restart the sick container"
  agentctl run --deny 'docker_*' "How much disk is free?"
  agentctl run --yes --deny docker_rm --deny 'docker_*(name=db*)' "Clean up the old containers"
  agentctl run --read-only "Why does web restart?"
  agentctl run --tools docker_ps,docker_logs "Why does web restart?"

The question shows the exact action. Its answers: yes, no, always (for this run, by the rule that is shown).
--approve says who answers: ask (a person, the default), deny (no to all), all (yes to all, the same as --yes). It
touches neither deny rules nor limits, sandbox or network.

  agentctl run --approve deny "Why does web restart?"
  agentctl run --yes --deny docker_rm "Restart the sick container"

Files that other programs run or obey have a class, at any depth and however they are spelled:

  never      .git .agentctl.toml .agentctl/
  asks       .env .envrc .bashrc .profile .zshrc .vscode/ .idea/ .devcontainer/ .husky/ .githooks/
             .pre-commit-config.yaml .npmrc .yarnrc.yml .cargo/ .mise.toml .tool-versions .mcp.json .claude/
             .codex/ .cursor/ venv/bin/ pyvenv.cfg *.pth and the like; what core.hooksPath or include.path name
  reported   .github/workflows/ .gitlab-ci.yml Jenkinsfile Makefile package.json pyproject.toml conftest.py
             Dockerfile CMakeLists.txt build.rs AGENTS.md and the like

No tool writes a file of the class never: no rule and no --yes changes that. write_file asks before it writes one of the
class asks, or any other name with a dot in front; the question names the program. A shell command cannot be asked
half-way: files of these two classes are read-only to it, and new ones are moved into the run's files after it. A file
of the class reported is written. The run names such files at its end, and in changed_files_run_later of the JSON.

In config.toml: approve = "ask", and allow, ask, deny, tools as lists; in the environment AGENTCTL_ALLOW and the like.

Shell commands of a model run in a sandbox: a read-only system, the workspace to write in, a home of their own, no
network. Where none can be had here, a model is offered no shell; --sandbox none runs it without a boundary, --sandbox
bwrap insists on one (exit 6). --network lets commands out. The Docker socket is never a command's. A filter of system
calls (seccomp) refuses commands keyrings, io_uring and sockets of other families; 32-bit programs do not run.
A command has at most 1024 processes, half of the machine's memory (8 GiB at most), 512 MiB in /tmp and 4 GiB a file; it
is ended when it adds 4 GiB to the workspace, or leaves less than 256 MiB free there.

Where root's agentctl works in a folder of root's, commands keep root's user id. Files outside the workspace that only
root may read are then hidden, at any depth; not looked at are installed programs (/usr but for /usr/local, /bin, /lib,
/sbin) and files that become private during the run.

  agentctl run --sandbox bwrap --no-network "Count the lines of the source files"
  agentctl doctor --offline                 which boundary can be had here

Secrets in what tools return are replaced by marks before a model reads them: [redacted:github-token:3f2a1c]. write_file
puts them back into the file that they are from. A mark in any other argument, or of another file, is refused.

A .env or .agentctl.toml in the working directory is not trusted: it may lower limits, deny, ask, set read_only, and
nothing else, until you name it (--env-file .env) or trust it:

  agentctl trust
"""


def permission_text() -> str:
    """Return the topic's text."""
    return _PERMISSION


_SETTINGS = (
    "max_context_tokens",
    "keep_last_n_user_messages",
    "keep_last_n_assistant_messages",
    "max_result_tokens",
    "context_cut_percent",
    "context_warn_percent",
    "summaries",
    "summary_tokens",
)

_CONTEXT = """\
Each turn sends the model the whole conversation so far: the instructions, the task, what the model said and called,
what the tools answered, and the schemas of the tools. All of it together stays within MAX_CONTEXT_TOKENS, or within the
model's own window where that is smaller. What does not fit is cut, before it is sent.

What always stays: the instructions, the task, the last messages of the user and of the model (as many as you say), each
of them with the answers to its calls. The rest is ranked: what has to do with the task and with the latest messages,
errors, and what is recent stay longest. In place of what went stand a few lines, behind the task. The order stays as
it was, and a call is never parted from its answer. What cannot be made to fit ends the run with exit 7.

A cut is rare and deep: down to about half, and then nothing for many turns. Between two cuts each request begins with
the one before, word for word, because providers bill such a beginning, from their cache, at a fraction of the price.
One line tells each cut: messages, tokens before and after, and in estimated dollars what it costs now and saves a turn;
one line before the first tells once that the context is nearly full (--context-warn-percent).

The lines are notes of agentctl itself, which cost nothing, or a summary by the model. That is a request like any other:
within the limits, held and settled, with its own price in the ledger. With --summaries auto it is asked for where it
pays, with always at each cut; not where the budget is short, or two in a row were of no use. It is sent behind the last
request as that was sent, so most of its input comes from the cache.

SETTINGS
  agentctl run --max-context-tokens 32000 "Why does nginx restart?"
  agentctl run --summaries never --context-cut-percent 30 "Which logs grow fastest?"
  agentctl config set MAX_CONTEXT_TOKENS 32000

More context costs more: the input of every later turn grows with it. A project's own file that is not trusted may only
lower what is sent, and forbid summaries.

A result of a tool longer than its share (--max-result-tokens) is cut in its middle. Where the whole is kept in a file
beside the run's journal, the mark in its place says how the model can read on, by lines:

  read_file(path="run:3-docker_logs.txt", from_line=121, to_line=240)

Tokens are estimates, until the provider reports its own count; the table below shows both. Ollama gets the window it
has to open (num_ctx) with each request. A server that cuts the prompt all the same would answer to something else than
was asked: where its count tells so, the run ends with exit 7 and the setting to change.

How full it was at each turn, what was cut, what came from the cache ("cached" is that share of what the provider
counted, "reported"), and the sums below:

  agentctl runs show --context
  agentctl runs show --context -o json
  agentctl runs show                    the run as a story, with its cuts
  agentctl costs --by purpose           what summaries cost, beside the turns
"""


def context_text() -> str:
    """Return the topic's text."""
    defaults = Settings.model_construct()
    rows = [(flag_name(field), ENV_NAMES[field][-1], getattr(defaults, field)) for field in _SETTINGS]
    lines = "".join(
        f"  {flag:<33} {name:<31} {'an eighth of the context' if default is None else default}\n"
        for flag, name, default in rows
    )
    return _CONTEXT.replace("SETTINGS", lines, 1)
