"""Whether the clocks agree: leases go by the database's, deadlines and signs of life by each
machine's own."""

import time
from collections.abc import Callable

from darkroom.doctor.diagnosis import Diagnosis, doubtful, failed, well

#: A difference that is noticed, in seconds; a tenth of the default lease.
NOTICED_S = 3.0


def agreement(of: str, read: Callable[[], float], *, lease_s: float) -> Diagnosis:
    """How far a server's clock is from this machine's, as one look at both can tell.

    What `read` raises passes.
    """
    before = time.time()
    theirs = read()
    after = time.time()
    apart_s = max(before - theirs, theirs - after, 0.0)
    part = f"clock of the {of}"
    words = f"It is {apart_s:.0f} s away from this machine's: set both by NTP."
    if apart_s > lease_s:
        return failed(part, f"{words} Beyond DARKROOM_LEASE_S workers look dead that are not.")
    if apart_s > NOTICED_S:
        return doubtful(part, words)
    return well(part, "It agrees with this machine's.")
