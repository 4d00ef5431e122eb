"""Pages of other origins may call the API, where the operator names them.

No cookie is ever read, so no call carries a user's rights unless the page itself has their token:
credentials are never allowed, and need not be.
"""

from collections.abc import Collection

from flask import Flask, Response, request

ANYONE = "*"

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"

#: How long a browser may remember what it may do, in seconds.
REMEMBERED_S = 600


def allow_origins(app: Flask, origins: Collection[str]) -> None:
    """Answer browsers for pages of these origins; `*` stands for every origin.

    Call it after `track_requests`, so that the answers to preflights have ids too.
    """
    if not origins:
        return

    def answer_preflight() -> Response | None:
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        # The same for every path: whether there is something tells the call itself.
        response = Response(status=204)
        response.headers["Access-Control-Max-Age"] = str(REMEMBERED_S)
        response.headers["Access-Control-Allow-Methods"] = METHODS
        if wanted := request.headers.get("Access-Control-Request-Headers"):
            response.headers["Access-Control-Allow-Headers"] = wanted
        response.vary.add("Access-Control-Request-Headers")
        return response

    def allow(response: Response) -> Response:
        origin = request.headers.get("Origin", "")
        if ANYONE in origins:
            response.headers["Access-Control-Allow-Origin"] = ANYONE
        else:
            response.vary.add("Origin")
            if origin not in origins:
                return response
            response.headers["Access-Control-Allow-Origin"] = origin
        # All of them, which is what `*` means where credentials are not allowed.
        response.headers["Access-Control-Expose-Headers"] = "*"
        return response

    app.before_request(answer_preflight)
    app.after_request(allow)
