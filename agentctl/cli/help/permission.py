"""``agentctl help permission``."""

from __future__ import annotations

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
