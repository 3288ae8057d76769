"""`agentctl mcp`: the MCP servers that a run would use: list, show, add and remove them.

`command` holds the commands, `configured` reads the configuration as a run does, `server_output` describes a server in
text and JSON, `server_documents` has the types of its documents. `serve` is agentctl as a server itself: `served_runs`
runs tasks below one scope of the ledger, `served_tools` answers the calls, `served_stdio` speaks the protocol.

Enter: `command.COMMANDS`, which `cli.app` loads.
Always: no value of a variable or of a header is printed; `list` and `show` start nothing and connect to nothing; a
    change keeps every other entry and key of the user's mcp.json. While `serve` runs, stdout is the protocol's only.
May import: every package below `cli`.
Never: changes a file of a project, or config.toml.
"""
