"""``agentctl help setup``."""

from __future__ import annotations

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
