"""The error documents of OpenAI, by code and by status."""

from __future__ import annotations

from typing import NamedTuple

from tests.support.wire.script import Json
from tests.support.wire.speech import Refusal, Reply, compact

_KEYS_PAGE = "https://platform.openai.com/account/api-keys."


class _Error(NamedTuple):
    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None


_CODES = {
    "invalid_api_key": _Error(401, f"Incorrect API key provided: {{}}. You can find your API key at {_KEYS_PAGE}"),
    "model_not_found": _Error(404, "The model `{}` does not exist or you do not have access to it."),
    "insufficient_quota": _Error(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        "insufficient_quota",
    ),
    "rate_limit_exceeded": _Error(
        429,
        "Rate limit reached for {} in organization org-0123456789 on tokens per min (TPM): Limit 30000, Used 29937, "
        "Requested 385. Please try again in 644ms. Visit https://platform.openai.com/account/rate-limits to learn "
        "more.",
        "tokens",
    ),
    "context_length_exceeded": _Error(
        400,
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130042 tokens. "
        "Please reduce the length of the messages.",
        param="messages",
    ),
    "unsupported_parameter": _Error(
        400,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        param="max_tokens",
    ),
    "unsupported_country_region_territory": _Error(
        403, "Country, region, or territory not supported", "request_forbidden"
    ),
    "no_tools": _Error(400, "tools is not supported in this model.", param="tools"),
}
_BY_STATUS = {
    400: _Error(400, "We could not parse the JSON body of your request."),
    401: _Error(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        f"(i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from {_KEYS_PAGE}",
    ),
    404: _Error(404, "Invalid URL"),
    422: _Error(422, "Unprocessable entity"),
    500: _Error(500, "The server had an error while processing your request. Sorry about that!", "server_error"),
    503: _Error(503, "The engine is currently overloaded, please try again later", "server_error"),
}
_USUAL_CODES = {429: "rate_limit_exceeded", 403: "unsupported_country_region_territory"}
_PAGES = (413, 502, 504)  # a gateway's own: no JSON


def refusal(why: Refusal) -> Reply:
    """Return the real error document; a gateway's own statuses come as a page, not as JSON."""
    code = why.code or _USUAL_CODES.get(why.status or 0)
    if code is None and why.status in _PAGES:
        page = f"<html>\r\n<head><title>{why.status}</title></head>\r\n<body></body>\r\n</html>\r\n"
        return Reply(why.status, page.encode(), "text/html")
    status = why.status or 500
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = _CODES.get(code or "") or _BY_STATUS.get(status) or _Error(status, f"Error {status}", kind)
    message = why.words or (error.message.format(why.about) if code else error.message)
    document: Json = {"message": message, "type": error.type, "param": error.param, "code": code}
    return Reply(why.status or error.status, compact({"error": document}).encode())
