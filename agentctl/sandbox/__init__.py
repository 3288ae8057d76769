"""Run a model's commands, in a sandbox or without one, with limits on time, output, memory and disk.

`select` chooses the sandbox of a run: one of the `tiers`, or `unsandboxed`. `bwrap` runs a command by bubblewrap:
`mount_plan` decides which parts of the machine are visible inside, `private_files`, `socket_files` and `denied_paths`
find what must be hidden, `confinement`, `system_calls` and `resource_limits` limit what a command can do.
`workspace_guard` protects the files of the workspace that other programs run, with `folder_index`, `quarantine` and,
for git, `git_scratch`, `git_folder` and `git_files`. `process` starts and ends one command, with `process_tree`,
`process_guard` and `output`; `hook_process` runs the command of a hook, outside of the sandbox. `server_process` runs
a server that talks over its pipes, beside the commands: `server_access` decides what it reaches, `server_program` finds
its program.

Enter: `select.open_sandbox` for a run, `select.examine` to report what is available; `process.run_process` for one
command outside of a sandbox; `server_process.start_server` for a server of a run. Always: a sandbox is tested before it
is returned (`self_test`). All processes that a command started end with it, also when agentctl is killed (the
exceptions without a sandbox: `process_tree`). A protection that is missing here is reported. No file that a command
made is deleted without a note. May import: core, settings, protocols. Never: decides whether a call may run, asks a
model or the user, or keeps state beyond a run.
`guard_program` is run by its path and imports nothing from agentctl.
"""
