"""Tools for the container engine: list, inspect, logs, start and stop, images, run, exec.

`client` is the one connection, `responses` takes its JSON and its streams apart. `listings`, `containers`,
`images`, `lifecycle`, `run` and `exec` are the tools.

Enter: `client.DockerEngine` for a request, `containers.resolve_container` and `images.resolve_image` for who is
    meant.
Always: a name becomes a true name and an id before anybody decides about it, and the id is checked again when the
    call is made. A change is sent once; after silence the error says that nobody knows whether it was made.
    Containers of `docker_run` have no privileges and no network unless asked for, and are removed, also after a
    kill.
May import: what `tools` may.
Never: builds images, mounts anything but the workspace (read-only), or hands out the engine's socket.
"""
