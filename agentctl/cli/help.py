"""``agentctl help``: what does not fit behind a flag."""

from __future__ import annotations

from typing import Annotated

import typer

_TOPICS = {
    "exit-codes": "what each exit code means",
    "setup": "what works out of the box, and how limits are set",
}

_SETUP = """\
agentctl works without setup: builtin, the provider that nobody has to configure, answers read-only questions
about this machine and its containers. It is no language model: it matches your words to a declared list of
lookups, sends nothing anywhere and costs nothing.

  agentctl run "How much disk is free?"
  agentctl run "List all containers"

builtin is the only provider that this release speaks to. Where a key such as OPENAI_API_KEY is set, say so:

  agentctl run --provider builtin "How much disk is free?"

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
