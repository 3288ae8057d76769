"""Fixtures of the bill's tests: users of a provider on the wire, whose every step is audited."""

from tests.support.bill.fixtures import (  # noqa: F401 - fixtures
    _collector,
    _no_sandbox,
    audit,
    command,
    litellm_is_loaded,
    shell,
    state,
    user,
    wire,
)
