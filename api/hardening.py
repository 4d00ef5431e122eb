"""Headers that tell browsers what answers are not for: to be run, framed, guessed or kept."""

import base64
import hashlib
import re

from flask import Flask, Response, request

from darkroom.settings import Settings

#: Whatever is shown as a page runs nothing, loads nothing, and is in nobody's frame.
INERT = "default-src 'none'; sandbox; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

DOCS = "/docs"

#: The `/docs` page: its own files, and its one inline script by its hash.
OF_DOCS = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)

#: Links that carry their own permission: what they show may be part of anybody's page.
LINKED = "/v1/images/files/"

INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def harden(app: Flask, settings: Settings) -> None:
    """Put the headers on all answers of the application."""
    hsts = f"max-age={settings.hsts_s}" if settings.hsts_s else None

    def add(response: Response) -> Response:
        headers = response.headers
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Content-Security-Policy"] = _policy(response)
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Resource-Policy"] = (
            "cross-origin" if request.path.startswith(LINKED) else "same-origin"
        )
        # Tokens, keys and other people's prompts are in nearly every answer.
        headers.setdefault("Cache-Control", "no-store")
        if hsts and request.is_secure:
            headers["Strict-Transport-Security"] = hsts
        return response

    app.after_request(add)


def _policy(response: Response) -> str:
    if not request.path.startswith(DOCS):
        return INERT
    scripts = ""
    if response.mimetype == "text/html" and not response.direct_passthrough:
        scripts = "".join(
            f" 'sha256-{base64.b64encode(hashlib.sha256(each).digest()).decode()}'"
            for each in INLINE_SCRIPT.findall(response.get_data())
        )
    return OF_DOCS.format(scripts=scripts)
