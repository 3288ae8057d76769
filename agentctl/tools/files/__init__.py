"""Tools for the files of the workspace: list, read, search, write.

`paths` resolves paths beneath the workspace and refuses those that no tool may touch; `walk` opens regular files and
lists folders within limits; `list`, `read`, `search` and `write` are the tools. `autorun_paths` finds the program that
runs or obeys a written file.

Enter: `walk.open_for_reading`, `walk.Walk` and `paths.open_beneath` for a new tool. Always: the kernel resolves a path
beneath the workspace, links included; only regular files are opened; files that a deny rule hides do not appear. A file
is written whole or not at all. May import: what `tools` may. Never: follows a link out of the workspace, or opens
pipes, devices and files of the kernel.
"""
