"""Links to pictures that work without a header, for an hour.

Whoever has the link sees the picture, as with OpenAI's own links, so it is signed and it expires.
"""

import hmac
import time

from darkroom.errors import PermissionDenied

#: How long a link works, in seconds.
LASTS_S = 3600


class PictureLinks:
    """Makes links with the first key, and tells true ones from others; those of all are true."""

    def __init__(self, key: bytes, *previous: bytes) -> None:
        self._keys = (key, *previous)

    def path(self, image_id: str) -> str:
        """Where the picture can be had from now on, on this server."""
        expires = str(int(time.time()) + LASTS_S)
        signature = _signature(self._keys[0], image_id, expires)
        return f"/v1/images/files/{image_id}?expires={expires}&signature={signature}"

    def check(self, image_id: str, *, expires: str, signature: str) -> None:
        """Raises PermissionDenied for a link that is not ours, or is not valid any more."""
        if not any(
            hmac.compare_digest(_signature(key, image_id, expires).encode(), signature.encode())
            for key in self._keys
        ):
            raise PermissionDenied("The link is not complete, or was changed: copy all of it.")
        if int(expires) < time.time():
            raise PermissionDenied("The link has expired: ask for the picture again.")


def _signature(key: bytes, image_id: str, expires: str) -> str:
    return hmac.digest(key, f"{image_id} {expires}".encode(), "sha256").hex()
