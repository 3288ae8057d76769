"""Tools for the files of the workspace: list, read, search, write.

`paths` resolves paths beneath the workspace and refuses what no tool may touch; `walk` opens regular files and lists
folders with bounds; `list`, `read`, `search` and `write` are the tools. `autorun_paths` says who runs or obeys a
file that is written.

Enter: `walk.open_for_reading`, `walk.Walk` and `paths.open_beneath` for a new tool.
Always: the kernel resolves a path beneath the workspace, links included; only regular files are opened; what a deny
    rule hides is not there. A file is written whole or not at all.
May import: what `tools` may.
Never: follows a link out of the workspace, or opens pipes, devices and files of the kernel.
"""
