"""How much memory the parts of a running service took at most. Linux only."""

import re
import subprocess
from pathlib import Path

from tests.end_to_end.cluster import Part

KIB_PER_MIB = 1024


def peak_mib(part: Part) -> float:
    """The peaks of all processes of a part, in MiB."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid="], capture_output=True, text=True, check=True
    ).stdout
    pairs = (line.split() for line in listing.splitlines())
    return sum(_peak_mib(pid) for pid, group in pairs if int(group) == part.pid)


def _peak_mib(pid: str) -> float:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / KIB_PER_MIB if match else 0.0
