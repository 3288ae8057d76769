"""Run commands of a model: sandboxed or not, bounded in time, output, memory and disk, and ended with all they started.

`select` decides which sandbox a run gets. `bwrap` runs a command by bubblewrap: `mount_plan` says what of the
machine is inside, `private_files`, `socket_files` and `denied_paths` find what must not be, `confinement` and
`resource_limits` bound what a command can do. `workspace_guard` protects the files of the workspace that other
programs run, with `folder_index`, `quarantine` and, for git, `git_scratch`, `git_folder` and `git_files`. `process`
starts and ends one command, with `process_tree`, `process_guard` and `output`.

Enter: `select.open_sandbox` for a run, `select.examine` to report what can be had; `process.run_process` for one
    command outside of a sandbox.
Always: a sandbox is tested before it is returned (`self_test`). What a command started is ended with it, also when
    agentctl is killed (what can slip through without a sandbox: `process_tree`). A wall that cannot be had is named,
    never left out in silence. No file that a command made is deleted unsaid.
May import: core, settings, protocols.
Never: decides whether a call may run, asks a model or the user, or keeps state beyond a run. `guard_program` is run
    by its path and imports nothing of agentctl.
"""
