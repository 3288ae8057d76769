"""Every name of a span, an attribute and a metric, from one version of the semantic conventions, and our own.

The conventions for generative AI have left the main repository since and go on with other names of metrics; a move to
them is a change of this module and of ``docs/telemetry.md``.
"""

from __future__ import annotations

from typing import Final

CONVENTIONS_VERSION: Final = "1.41.0"
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{CONVENTIONS_VERSION}"
SCOPE: Final = "agentctl"
SERVICE_NAME: Final = "agentctl"

# Values of gen_ai.operation.name, which begin the name of a span.
INVOKE_AGENT: Final = "invoke_agent"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
CONVERSATION: Final = "gen_ai.conversation.id"
AGENT: Final = "gen_ai.agent.name"
OUTPUT_TYPE: Final = "gen_ai.output.type"
REQUEST_MODEL: Final = "gen_ai.request.model"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
COUNTED_AS: Final = "gen_ai.token.type"
TOOL: Final = "gen_ai.tool.name"
TOOL_CALL: Final = "gen_ai.tool.call.id"
TOOL_TYPE: Final = "gen_ai.tool.type"
ERROR: Final = "error.type"

#: Providers that the conventions name otherwise.
PROVIDERS: Final[dict[str, str]] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}

# Only with the switch for content.
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"
CONTENT: Final = (SYSTEM_INSTRUCTIONS, INPUT_MESSAGES, OUTPUT_MESSAGES, TOOL_ARGUMENTS, TOOL_RESULT)

USED_TOKENS: Final = "gen_ai.client.token.usage"
DURATION: Final = "gen_ai.client.operation.duration"
COST: Final = "agentctl.cost"
#: The boundaries of the buckets that the conventions name for each histogram.
BUCKETS: Final = {
    USED_TOKENS: tuple(float(4**power) for power in range(14)),
    DURATION: tuple(0.01 * 2**power for power in range(14)),
}
UNITS: Final = {USED_TOKENS: "{token}", DURATION: "s", COST: "{USD}"}
DESCRIPTIONS: Final = {
    USED_TOKENS: "Number of input and output tokens used.",
    DURATION: "GenAI operation duration.",
    COST: "Cost of model calls in US dollars.",
}

# Our own. Amounts are whole nano-dollars, as in the ledger.
RUN: Final = "agentctl.run.id"
STATUS: Final = "agentctl.run.status"
TURNS: Final = "agentctl.run.turns"
FORKED_FROM: Final = "agentctl.run.forked_from"
SANDBOX: Final = "agentctl.sandbox"
LABEL: Final = "agentctl.label."
RUN_COST: Final = "agentctl.cost.nano_usd"
RUN_IN_DOUBT: Final = "agentctl.in_doubt.nano_usd"
LIMIT: Final = "agentctl.limit."
BREAKER: Final = "agentctl.breaker.limit"
ATTEMPT: Final = "agentctl.attempt.id"
PURPOSE: Final = "agentctl.attempt.purpose"
PROBE: Final = "agentctl.attempt.probe"
TURN: Final = "agentctl.turn"
CLIENT: Final = "agentctl.client"
HOLD: Final = "agentctl.hold.nano_usd"
HOLD_TOKENS: Final = "agentctl.hold.tokens"
CONCLUSION: Final = "agentctl.conclusion"
CHARGE: Final = "agentctl.charge.nano_usd"
OVERRUN: Final = "agentctl.charge.overrun"
IN_DOUBT: Final = "agentctl.in_doubt.nano_usd"
IN_DOUBT_TOKENS: Final = "agentctl.in_doubt.tokens"
REASONING_TOKENS: Final = "agentctl.usage.reasoning_tokens"
EFFECT: Final = "agentctl.tool.effect"
TOOL_SECONDS: Final = "agentctl.tool.duration_s"

#: Events of the agent's span, by the name of their record: its fields that are sent, by the names of attributes.
EVENTS: Final[dict[str, dict[str, str]]] = {
    "breaker_tripped": {"breaker.limit": BREAKER, "breaker.ceiling": "agentctl.breaker.ceiling",
                        "breaker.spent": "agentctl.breaker.spent", "breaker.would_be": "agentctl.breaker.would_be"},
    "limit_warned": {"use.name": "agentctl.limit.name", "use.used": "agentctl.limit.used",
                     "use.ceiling": "agentctl.limit.ceiling"},
    "call_waited": {"reason": "agentctl.wait.reason", "seconds": "agentctl.wait.seconds"},
    "call_retried": {"attempt_id": ATTEMPT, "seconds": "agentctl.wait.seconds"},
    "model_substituted": {"attempt_id": ATTEMPT, "asked": REQUEST_MODEL, "answered": RESPONSE_MODEL},
    "provider_replaced": {"failed": "agentctl.failed", "kind": ERROR, "provider": PROVIDER, "model": REQUEST_MODEL},
    "context_pruned": {"tokens_before": "agentctl.context.tokens_before",
                       "tokens_after": "agentctl.context.tokens_after"},
    "tool_denied": {"call.name": TOOL, "call.id": TOOL_CALL, "hook": "agentctl.hook"},
}  # fmt: skip
