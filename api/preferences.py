"""How long a caller wants to wait: the `Prefer` header (RFC 7240)."""

from dataclasses import dataclass

from werkzeug.http import parse_dict_header

from darkroom.errors import InvalidRequest


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What was asked for and is granted."""

    #: How long to wait for the pictures, in seconds.
    wait_s: float
    #: What to answer as `Preference-Applied`; empty when nothing was asked for.
    applied: str = ""


def read_preferences(
    header: str, *, longest_wait_s: float, usual_wait_s: float | None = None
) -> Preferences:
    """Read `respond-async` and `wait=N`; what else the header says is not ours and is ignored.

    Without either the wait is `usual_wait_s`, or else the longest.
    Both together mean: wait that long, then answer 202. Raises InvalidRequest for a wait that is
    no whole number of seconds.
    """
    asked = {
        name.lower(): value for name, value in parse_dict_header(header.replace(";", ",")).items()
    }
    if "wait" in asked:
        value = asked["wait"] or ""
        if not (value.isascii() and value.isdecimal() and len(value) <= 9):
            raise InvalidRequest(
                "Prefer: wait takes a whole number of seconds, such as wait=30.", param="Prefer"
            )
        wait_s = min(float(value), longest_wait_s)
        applied = f"wait={wait_s:.0f}"
        return Preferences(
            wait_s=wait_s,
            applied=f"respond-async, {applied}" if "respond-async" in asked else applied,
        )
    if "respond-async" in asked:
        return Preferences(wait_s=0.0, applied="respond-async")
    return Preferences(wait_s=longest_wait_s if usual_wait_s is None else usual_wait_s)
