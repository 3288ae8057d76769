"""Use the tools of MCP servers: programs in the run's sandbox, and servers at an HTTP address.

`server_group` opens the servers of a run in parallel and has their tools; it loads the official SDK (the extra `mcp`)
only then, by `sdk_loader`. `server_session` is one connected server, over `line_transport` (JSON-RPC in lines, over a
process of the sandbox) or `http_endpoint` (one origin, no redirects). `catalogue` bounds and names what a server says
of its tools, `catalogue_pins` compares it with what the user saw before, `server_tool` is one tool, `call_results`
makes text of its results.

Enter: `server_group.McpConnections`. Always: what a server says is bounded, escaped and never obeyed; a server that
breaks a bound ends, with a sentence. A server is given nothing but calls: sampling, elicitation and roots are refused.
May import: core, settings, protocols, sandbox, and of tools only the toolbox. Never: starts a process itself, decides
whether a call may run, or lowers the effect of a tool by the server's word unless the user trusts it.
"""
