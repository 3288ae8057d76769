"""Run tasks from Python programs: the agents and the cost tracker that `agentctl.__all__` exports.

`agent.Agent` runs a task as `agentctl run` would: the same settings, ledger, journal and rules. Its name, instructions
and tools are the caller's; `docker_agent` has the two agents of the package.
`cost_tracker.CostTracker` sets prices and limits for such runs and adds up what they spent.

Enter: `agent.Agent.execute` or `execute_async`.
Always: the end of a run is a result, never an exception; wrong arguments and settings are raised before it begins.
    Calls work with and without a running event loop, and from several threads at once.
May import: every package below, those that cost time inside functions; not cli.
Never: prints, or stores a limit or a price anywhere but in the run's plan and the ledger.
"""
