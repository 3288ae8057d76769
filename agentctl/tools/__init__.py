"""The tools that a model can call: the machine, files of the workspace, git, the shell, containers.

`toolbox` names every tool and loads a tool's module when it is first asked for. `tool` makes a tool from a function,
its docstring and a pydantic model. `tables` formats results. The tools: `system`, `git`, `shell`, the packages `files`
(workspace) and `docker` (container engine). `deferred` offers a model a few of many tools and finds the others, by
`tool_index`.

Enter: `toolbox.toolbox` for the tools of a run, `tool.define_tool` to write a new one (with a row in `toolbox.TOOLS`,
and its name in the agents that offer it: `runner/agent_files`). Always: arguments are checked before a call acts; the
target of a call is looked up before the call is judged, and checked again when it acts. Output is text without control
characters, limited in size, and says what was left out. A failure is a `ToolError` or an `EngineUnavailable` with a
hint. May import: core, context, settings, protocols, journal, sandbox. Never: decides whether a call is allowed
(`permissions` does), leaves the workspace, or runs a program of the workspace outside the sandbox.
"""
