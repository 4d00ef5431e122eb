"""Answers of Google and of the gateways before it that are errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

KEY = "AIzaSyStandIn-0123456789abcdefghijklm"

TYPES = "type.googleapis.com/google.rpc"


@dataclass(frozen=True)
class Fault:
    """An answer that is an error."""

    status: int
    word: str = "INVALID_ARGUMENT"
    message: str = "Request contains an invalid argument."
    details: Sequence[Any] = ()
    #: Wrapped in a list of one, as streams and some gateways do.
    is_wrapped: bool = False
    #: The status of the answer itself, where it differs.
    shown_status: int | None = None
    #: Instead of the envelope, as gateways answer.
    html: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def envelope(self) -> Any:
        error: dict[str, Any] = {
            "code": self.status,
            "message": self.message,
            "status": self.word,
        }
        if self.details:
            error["details"] = list(self.details)
        return [{"error": error}] if self.is_wrapped else {"error": error}


def _quota(quota_id: str) -> dict[str, Any]:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": quota_id,
        "quotaDimensions": {"location": "global", "model": "gemini-3-pro-image"},
        "quotaValue": "20",
    }
    return {"@type": f"{TYPES}.QuotaFailure", "violations": [violation]}


HELP = {"@type": f"{TYPES}.Help", "links": [{"description": "Learn more", "url": "https://x.y"}]}
EXCEEDED = "You exceeded your current quota, please check your plan and billing details."


def _retry(delay: str) -> dict[str, str]:
    return {"@type": f"{TYPES}.RetryInfo", "retryDelay": delay}


PER_DAY = _quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
PER_MINUTE = _quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")

BAD_KEY = Fault(
    400,
    message="API key not valid. Please pass a valid API key.",
    details=(
        {
            "@type": f"{TYPES}.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        },
    ),
)
NO_KEY = Fault(
    403,
    "PERMISSION_DENIED",
    "Method doesn't allow unregistered callers (callers without established identity).",
)

FAULTS = {
    "bad_key": BAD_KEY,
    "bad_argument": Fault(400),
    "precondition": Fault(
        400,
        "FAILED_PRECONDITION",
        "User location is not supported for the API use without a billing account linked.",
    ),
    "unauthenticated": Fault(401, "UNAUTHENTICATED", "Request had invalid credentials."),
    "prepaid_gone": Fault(402, "FAILED_PRECONDITION", "Prepaid credits are exhausted."),
    "denied": Fault(403, "PERMISSION_DENIED", "The caller does not have permission"),
    "not_found": Fault(
        404,
        "NOT_FOUND",
        "models/x is not found for API version v1beta, or is not supported for predict.",
    ),
    "html_404": Fault(404, html="<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>"),
    "too_large": Fault(413, "INVALID_ARGUMENT", "Request payload size exceeds the limit."),
    "html_413": Fault(413, html="<html>Request Entity Too Large</html>"),
    "per_minute": Fault(429, "RESOURCE_EXHAUSTED", EXCEEDED, (PER_MINUTE, HELP, _retry("38.2s"))),
    "per_day": Fault(429, "RESOURCE_EXHAUSTED", EXCEEDED, (PER_DAY, HELP, _retry("7s"))),
    "bare_429": Fault(429, "RESOURCE_EXHAUSTED", "Resource exhausted, please try again later."),
    "header_429": Fault(
        429, "RESOURCE_EXHAUSTED", "Resource exhausted.", headers={"Retry-After": "4"}
    ),
    "canceled": Fault(499, "CANCELLED", "The operation was cancelled."),
    "internal": Fault(500, "INTERNAL", "An internal error has occurred."),
    "html_502": Fault(502, html="<html><title>Error 502 (Server Error)!!1</title></html>"),
    "overloaded": Fault(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "deadline": Fault(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could finish."),
    "wrapped_429": Fault(429, "RESOURCE_EXHAUSTED", EXCEEDED, (_retry("38s"),), is_wrapped=True),
    "hidden_503": Fault(503, "UNAVAILABLE", "The model is overloaded.", shown_status=200),
    "redirect": Fault(307, html="", headers={"Location": "http://127.0.0.1:9/stolen"}),
    "html_200": Fault(200, html="<!doctype html><title>Some web app</title>"),
    "leaky": Fault(
        400, message=f"Bad key {KEY} in /srv/vendor/app/main.py, not AIzaSyOther_0123456789."
    ),
}
