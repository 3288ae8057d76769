"""Users of a real provider's wire, as the tests of the bill have them: every step of theirs is audited."""

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
