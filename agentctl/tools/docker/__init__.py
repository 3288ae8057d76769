"""Tools for the container engine: list, inspect, logs, start and stop, images, run, exec.

`client` is the one connection, `products` what answers there (Docker, Podman) and what hints name for it, `responses`
parses its JSON and its streams. `listings`, `containers`, `logs`, `stats`, `compose`, `images`, `lifecycle`, `run` and
`exec` are the tools. `orphans` removes what a killed `run` left.

Enter: `client.DockerEngine` for a request, `containers.resolve_container` and `images.resolve_image` to resolve a name.
Always: a name is resolved to the true name and the id before the call is judged, and the id is checked again when the
call acts. A "no" is derived from fields and the engine's filters, never from a display text; a state that is not known
is not taken for a stopped one. A change is sent once; without an answer the error says that it is unknown whether the
change was made. Containers of `docker_run` have no privileges and no network unless asked for, and are removed, after a
kill by the next run. May import: what `tools` may. Never: builds images, mounts anything but the workspace
(read-only), or hands out the engine's socket.
"""
