"""``agentctl help``, a topic or the list of topics, and ``agentctl completion``, the script for a shell."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

#: ``topics`` or ``reference`` has a function NAME_text for each but ``exit-codes``.
_TOPICS = {
    "setup": "what works out of the box, the set-ups, and how limits are set",
    "budget": "what is promised of the bill, the limits, and what to do when one trips",
    "permission": "what runs, what asks, what is denied: rules, sandbox, network, trust",
    "context": "what a model is sent, what is cut of it, what that costs, and how to see it",
    "formatting": "stdout and stderr, text and JSON, the schemas, colours",
    "environment": "every variable, with its meaning and its default",
    "exit-codes": "what each exit code means",
}


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
    from agentctl.core.errors import UsageError
    from agentctl.core.text import did_you_mean

    name = topic.lower().replace("_", "-")
    if name in _TOPICS and name != "exit-codes":
        from agentctl.cli.help import reference, topics

        module = reference if name in ("environment", "formatting") else topics
        return str(getattr(module, f"{name}_text")()).rstrip()
    if name == "exit-codes":
        from agentctl.cli.exit_codes import exit_code_table

        return exit_code_table()
    root = context.find_root().command
    commands = getattr(root, "commands", {})
    if name in commands and not commands[name].hidden:
        inner = typer.Context(commands[name], info_name=name, parent=context.find_root())
        return str(inner.get_help())
    raise UsageError(f'no help topic "{topic}"', hint=did_you_mean(name, [*_TOPICS, *commands]) or "agentctl help")


Shell = Literal["bash", "zsh", "fish"]


def completion(
    context: typer.Context, shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="The shell to teach.")]
) -> None:
    """Print a shell's completion script.

    For bash: source <(agentctl completion bash)
    """
    from typer.completion import shell_complete

    shell_complete(context.find_root().command, {}, "agentctl", "_AGENTCTL_COMPLETE", f"source_{shell}")
