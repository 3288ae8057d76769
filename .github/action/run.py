"""Run the task that the inputs of the action describe; the exit code is that of the run.

In the environment: ``INPUTS``, all inputs as JSON; ``SWITCHES`` and ``LISTS``, the names of the inputs that are true or
false (with the opposite flag, if there is one) and of those with a value a line; ``FOLDER``, a folder of our own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

OWN = ("task", "python", "extras")


class WrongInput(Exception):
    """An input that no run can be made from."""


def arguments(inputs: dict[str, str], switches: dict[str, str], lists: set[str], folder: Path) -> list[str]:
    """Return the arguments of agentctl; the task is passed in a file.

    Raises:
        WrongInput: the task is given twice, or a switch is neither true nor false.
    """
    words = ["run"]
    if inputs.get("task"):
        if inputs.get("task-file"):
            raise WrongInput("the task is given twice, as task and as task-file: give one of them")
        task = folder / "task"
        task.write_text(inputs["task"], encoding="utf-8", errors="surrogateescape", newline="")
        words.append(f"--task-file={task}")
    for name, value in inputs.items():
        if name in OWN or not value.strip():
            continue
        if name in switches:
            if value not in ("true", "false"):
                raise WrongInput(f"the input {name} is neither true nor false")
            flag = name if value == "true" else switches[name]
            words += [f"--{flag}"] if flag else []
        elif name in lists and not value.lstrip().startswith("{"):  # JSON, which may have lines of its own
            words += [f"--{name}={line.strip()}" for line in value.splitlines() if line.strip()]
        else:
            words.append(f"--{name}={value}")
    return words


def main() -> None:
    """Replace this process by agentctl's."""
    folder = Path(os.environ.pop("FOLDER"))
    inputs = json.loads(os.environ.pop("INPUTS"))
    switches = {name: off for name, _, off in (one.partition("/") for one in os.environ.pop("SWITCHES").split())}
    lists = set(os.environ.pop("LISTS").split())
    try:
        words = arguments(inputs, switches, lists, folder)
    except WrongInput as error:
        sys.stdout.write(f"::error title=agentctl%3A usage::{error}\n")
        with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as outputs:
            outputs.write("status=usage\nexit_code=2\n")
        raise SystemExit(2) from None
    os.execv(sys.executable, [sys.executable, "-I", "-m", "agentctl", *words])  # noqa: S606 - no shell reads an input


if __name__ == "__main__":
    main()
