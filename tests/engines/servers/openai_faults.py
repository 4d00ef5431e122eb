"""Answers of OpenAI, Azure and the gateways before them that are errors."""

from dataclasses import dataclass, field

KEY = "sk-standin-0123456789abcdef"


@dataclass(frozen=True)
class Fault:
    """An answer that is an error."""

    status: int
    code: str | None = None
    type: str = "invalid_request_error"
    message: str = "Something is wrong."
    headers: dict[str, str] = field(default_factory=dict)
    #: Instead of the envelope, as gateways answer.
    html: str | None = None


class Refused(Exception):
    """The vendor's rules are broken."""

    def __init__(self, fault: Fault, param: str | None = None) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.param = param


FAULTS = {
    "moderation": Fault(
        400,
        "moderation_blocked",
        "image_generation_user_error",
        "Your request was rejected by the safety system. safety_violations=[violence].",
    ),
    "content_policy": Fault(
        400, "content_policy_violation", message="Rejected by our safety system."
    ),
    "refused_in_words": Fault(
        400,
        None,
        "image_generation_user_error",
        "Your request was rejected as a result of our safety system.",
    ),
    "azure_filter": Fault(400, "contentFilter", "", "The response was filtered."),
    "billing": Fault(400, "billing_hard_limit_reached", message="Billing hard limit reached."),
    "organization": Fault(403, message="Your organization must be verified to use the model."),
    "country": Fault(
        403, "unsupported_country_region_territory", "request_forbidden", "Not in your country."
    ),
    "no_model_400": Fault(400, message="The model 'gpt-image-9' does not exist."),
    "no_model_404": Fault(404, "model_not_found", message="No such model."),
    "no_model_403": Fault(403, "model_not_found", message="Project has no access to the model."),
    "no_deployment": Fault(404, "DeploymentNotFound", "", "No such deployment."),
    "timeout_408": Fault(408, type="server_error"),
    "conflict": Fault(409, "conflict", "conflict_error"),
    "too_large": Fault(413),
    "bad_media": Fault(415),
    "bad_picture": Fault(400, "invalid_image_format", message="The image is not readable."),
    "picture_too_large": Fault(400, "image_too_large", message="The image is too large."),
    "picture_not_base64": Fault(400, "invalid_base64_image", message="Not base64."),
    "refused_picture": Fault(400, "image_content_policy_violation", message="Not this picture."),
    "rate_limited": Fault(
        429, "rate_limit_exceeded", "requests", "Rate limit reached.", {"Retry-After": "7"}
    ),
    "slow_down": Fault(
        429, "slow_down", "rate_limit_error", "Slow down.", {"retry-after-ms": "1500"}
    ),
    "quota": Fault(429, "insufficient_quota", "insufficient_quota", "You exceeded your quota."),
    "spend_limit": Fault(
        429, "project_spend_limit_exceeded", "insufficient_quota", "Limit reached."
    ),
    "no_credit": Fault(429, "credit_balance_exhausted", "insufficient_quota", "No credit."),
    "server_error": Fault(500, None, "server_error", "The server had an error."),
    "html_502": Fault(502, html="<html><h1>502 Bad Gateway</h1></html>"),
    "overloaded": Fault(
        503,
        "server_is_overloaded",
        "service_unavailable_error",
        "Overloaded.",
        {"Retry-After": "3"},
    ),
    "gateway_504": Fault(504, html="<html>Gateway time-out</html>"),
    "html_524": Fault(524, html="<html>A timeout occurred</html>"),
    "leaky": Fault(
        400,
        "invalid_value",
        message=f"Incorrect key {KEY} in /srv/vendor/app/main.py, see sk-abcd1234efgh.",
    ),
    "redirect": Fault(307, html="", headers={"Location": "http://127.0.0.1:9/stolen"}),
    "html_200": Fault(200, html="<!doctype html><title>Some web app</title>"),
}
