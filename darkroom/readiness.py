"""Is a Darkroom ready? Asked of it over HTTP, as anyone else would."""

import http.client
import json

#: How long one answer is waited for, in seconds: a dead API must not keep the asker from seeing it.
PATIENCE_S = 1.0

#: What it takes to draw, besides workers.
PARTS = ("database", "broker", "redis", "files")


def missing(host: str, port: int) -> str | None:
    """What it still lacks before it can draw, in a few words; None when it is ready."""
    try:
        status, answer = _ask(host, port)
    except (OSError, http.client.HTTPException):
        return "the API does not answer"
    except ValueError:
        return "the API's answer is no JSON"
    checks = answer.get("checks", {})
    failed = sorted(name for name in PARTS if not checks.get(name, {}).get("ok", True))
    if failed:
        return f"not in order: {', '.join(failed)}"
    if status != http.HTTPStatus.OK:
        return f"the API answers {status}"
    if not checks.get("workers", {}).get("count"):
        return "no worker has given a sign of life"
    return None


def _ask(host: str, port: int) -> tuple[int, dict[str, dict[str, dict[str, int]]]]:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
