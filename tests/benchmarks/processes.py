"""What processes cost: CPU time and memory, read from /proc. Linux only.

CPU time says the same on a busy machine as on an idle one, unlike the time on the clock.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KIB_PER_MIB = 1024

#: What the processes of a Darkroom are called here, by what their command line holds.
PARTS = (
    ("valkey-server", "broker"),
    ("redis-server", "broker"),
    ("darkroom serve", "API"),
    ("darkroom worker", "worker"),
    ("darkroom up", "launcher"),
)


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for each in Path("/proc").glob("[0-9]*"):
        if (fields := _stat(int(each.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(each.name))
    found = [pid]
    for each_pid in found:
        found.extend(children.get(each_pid, ()))
    return found


def cpu_s(pid: int) -> dict[str, float]:
    """CPU seconds that the processes of a tree took so far, by part."""
    taken: defaultdict[str, float] = defaultdict(float)
    for each in tree(pid):
        if (fields := _stat(each)) is not None:
            taken[part_of(each)] += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return dict(taken)


def memory_mib(pid: int) -> dict[str, float]:
    """Memory of the processes of a tree, by part, in MiB (PSS: what is shared counts once)."""
    held: defaultdict[str, float] = defaultdict(float)
    for each in tree(pid):
        held[part_of(each)] += _pss_mib(each)
    return dict(held)


def largest_mib(pid: int) -> float:
    """Memory of the largest process of a tree, in MiB (PSS)."""
    return max(_pss_mib(each) for each in tree(pid))


def since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was added in between, by part."""
    return {part: value - before.get(part, 0.0) for part, value in after.items()}


def part_of(pid: int) -> str:
    """Which part of a Darkroom a process is."""
    command = " ".join(_command(pid))
    return next((name for mark, name in PARTS if mark in command), "other")


def _command(pid: int) -> Iterator[str]:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return
    yield from (each.decode(errors="replace") for each in raw.split(b"\0"))


def _stat(pid: int) -> list[str] | None:
    """The fields behind a process's name, from its state on; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _pss_mib(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) / KIB_PER_MIB if match else 0.0
