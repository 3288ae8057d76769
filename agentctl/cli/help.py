"""``agentctl help``: what does not fit behind a flag."""

from __future__ import annotations

from typing import Annotated

import typer

_TOPICS = {
    "exit-codes": "what each exit code means",
    "setup": "what works out of the box, the set-ups, and how limits are set",
}

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

With one key set, --provider may be left out. Who can answer, at what price, and who would now:

  agentctl providers list
  agentctl providers test        tries out what is set up, for a few hundredths of a cent; --free for nothing

Containers need a running engine. agentctl asks the one that docker would ask: DOCKER_HOST, then docker's
current context, then the usual socket.

Settings come from flags, then the environment, then --env-file, then the user's .env, then the user's
config.toml, then defaults. These three show what holds, where it came from and where the files are:

  agentctl config show
  agentctl config check
  agentctl config path

Limits hold for every run, and are never passed ("none" lifts one):

  max_cost_per_task    0.50 USD     --max-cost 0.50      MAX_COST_PER_TASK=0.50
  max_cost_per_hour    10.0 USD     --max-cost-per-hour  MAX_COST_PER_HOUR=10.0
  max_tokens_per_task  100000       --max-tokens 100000  MAX_TOKENS_PER_TASK=100000

A .env or .agentctl.toml in the working directory may only tighten them.
"""


def help(
    context: typer.Context,
    topic: Annotated[str | None, typer.Argument(metavar="TOPIC", help="A topic, or a command's name.")] = None,
) -> None:
    """Explain a topic; without one, list the topics."""
    if topic is None:
        print("\n".join(f"agentctl help {name:<11} {what}" for name, what in _TOPICS.items()))
        print("agentctl COMMAND -h       what a command does")
        return
    print(_text(context, topic))


def _text(context: typer.Context, topic: str) -> str:
    from agentctl.errors import UsageError
    from agentctl.text import did_you_mean

    name = topic.lower().replace("_", "-")
    if name == "setup":
        return _SETUP.rstrip()
    if name == "exit-codes":
        from agentctl.cli.exits import table

        return table()
    root = context.find_root().command
    commands = getattr(root, "commands", {})
    if name in commands and not commands[name].hidden:
        inner = typer.Context(commands[name], info_name=name, parent=context.find_root())
        return str(inner.get_help())
    raise UsageError(f'no help topic "{topic}"', hint=did_you_mean(name, [*_TOPICS, *commands]) or "agentctl help")
