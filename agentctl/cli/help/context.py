"""``agentctl help context``."""

from __future__ import annotations

from agentctl.settings import ENV_NAMES, Settings
from agentctl.settings.names import flag_name

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
