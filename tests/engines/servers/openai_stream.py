"""How a picture is streamed: unfinished ones, then the final one; and what goes wrong with that."""

import json
from typing import Any

Json = dict[str, Any]

#: What goes wrong, or is merely odd, once a stream has begun.
STREAM_MODES = frozenset(
    [
        "final_first",
        "final_only",
        "unended",
        "broken_off",
        "silent",
        "silent_after_final",
        "lost_after_final",
        "dressed_up",
        "bad_partial",
        "late_error",
        "late_error_nested",
        "late_error_flat",
        "late_refusal",
        "late_limit",
        "early_refusal",
        "early_limit",
        "early_quota",
    ]
)

SERVER_ERROR = {"message": "It broke.", "type": "server_error", "param": None, "code": None}
REFUSAL = {
    "message": "Rejected by the safety system. safety_violations=[violence].",
    "type": "image_generation_user_error",
    "param": None,
    "code": "moderation_blocked",
}
LIMIT = {
    "message": "Rate limit reached.",
    "type": "requests",
    "param": None,
    "code": "rate_limit_exceeded",
}
QUOTA = {
    "message": "You exceeded your quota.",
    "type": "insufficient_quota",
    "param": None,
    "code": "insufficient_quota",
}


def event(content: Json, *, name: str | None = None, end: str = "\n") -> bytes:
    """One event, its name that of its type."""
    lines = [f"event: {name or content['type']}", f"data: {json.dumps(content)}", "", ""]
    return end.join(lines).encode()


def story(mode: str, partials: list[Json], final: Json) -> list[bytes]:
    """The events of a stream, in order."""
    shown = [event(each) for each in partials]
    done = event(final)
    nested = {"type": "error", "error": SERVER_ERROR}
    stories = {
        "final_first": [done, *shown],
        "final_only": [done],
        "unended": shown,
        "broken_off": [*shown, done[: len(done) // 2]],
        "silent": shown,
        "dressed_up": [
            b": hello\r\n\r\n",
            b"id: 1\r\nretry: 10\r\n",
            *(event(each, end="\r\n") for each in [*partials, final]),
            b"data: [DONE]\r\n\r\n",
        ],
        "bad_partial": [*(event(each | {"b64_json": "***"}) for each in partials), done],
        "late_error": [*shown, event({"error": SERVER_ERROR}, name="error")],
        "late_error_nested": [*shown, event(nested)],
        "late_error_flat": [*shown, event(SERVER_ERROR, name="error")],
        "late_refusal": [*shown, event({"error": REFUSAL}, name="error")],
        "late_limit": [*shown, event({"error": LIMIT}, name="error")],
        "early_refusal": [event({"error": REFUSAL}, name="error")],
        "early_limit": [event({"error": LIMIT}, name="error")],
        "early_quota": [event({"error": QUOTA}, name="error")],
    }
    return stories.get(mode, [*shown, done])
