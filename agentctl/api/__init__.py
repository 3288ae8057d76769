"""Run tasks from Python programs: the agent and the cost tracker that `agentctl.__all__` exports.

`docker_agent.DockerAgent` runs a task as `agentctl run` would: the same settings, ledger, journal and rules.
`cost_tracker.CostTracker` sets prices and limits for such runs and adds up what they spent.

Enter: `docker_agent.DockerAgent.execute` or `execute_async`.
Always: the end of a run is a result, never an exception; wrong arguments and settings are raised before it begins.
    Calls work with and without a running event loop, and from several threads at once.
May import: every package below, those that cost time inside functions; not cli.
Never: prints, or stores a limit or a price anywhere but in the run's plan and the ledger.
"""
