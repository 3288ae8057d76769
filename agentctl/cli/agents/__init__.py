"""``agentctl agents``: list, show, write, check and route to agents.

Enter: `command.COMMANDS`. `new_agent` writes a file to begin with, `agent_check` says what is wrong with the files
that there are, `route_output` says which agent a task would get and why.
Always: nothing is sent, and no process is started, except by `show --task`, which tests the sandbox. May import: the
rest of the command line, and everything below. Never: changes a file that exists.
"""
