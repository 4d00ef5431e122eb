"""Directives in a prompt that make the built-in engine slow or faulty, to rehearse both.

`[latency=2]` takes two seconds per picture. `[fault=EngineBusy]` raises that error,
`[fault=EngineBusy:2]` only on the first two attempts, and `[retry_after=0.5]` goes with it. A run
with `[resume]` outlives its caller, where there is a ledger to find it in.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from darkroom.errors import EngineBusy, EngineError, RequestRejected

DIRECTIVE = re.compile(
    r"\[(?:latency=(?P<latency>\d+(?:\.\d+)?)"
    r"|retry_after=(?P<retry_after>\d+(?:\.\d+)?)"
    r"|fault=(?P<fault>\w+)(?::(?P<times>\d+))?"
    r"|(?P<resume>resume))\]"
)


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a prompt asks the built-in engine to act out."""

    #: The prompt without its directives.
    prompt: str
    #: Seconds per picture, where the prompt says so.
    latency_s: float | None = None
    fault: str | None = None
    #: The last attempt that meets the fault; None for every one.
    fault_until: int | None = None
    retry_after_s: float | None = None
    #: Whether the run goes on when its caller dies.
    resumes: bool = False

    @classmethod
    def parse(cls, prompt: str) -> "Script":
        found: dict[str, str] = {}
        for match in DIRECTIVE.finditer(prompt):
            found |= {key: value for key, value in match.groupdict().items() if value is not None}
        return cls(
            prompt=" ".join(DIRECTIVE.sub(" ", prompt).split()) if found else prompt,
            latency_s=float(found["latency"]) if "latency" in found else None,
            fault=found.get("fault"),
            fault_until=int(found["times"]) if "times" in found else None,
            retry_after_s=float(found["retry_after"]) if "retry_after" in found else None,
            resumes="resume" in found,
        )

    def act_out(self, attempt: int) -> None:
        """Raise the fault if it is due on this attempt, counted from 1."""
        if self.fault is None or (self.fault_until is not None and attempt > self.fault_until):
            return
        detail = f"The prompt scripted this failure ({self.fault}, attempt {attempt})."
        if self.fault == EngineBusy.__name__:
            raise EngineBusy(detail, retry_after_s=self.retry_after_s)
        kind = {each.__name__: each for each in _kinds(EngineError)}.get(self.fault)
        if kind is None:
            raise RequestRejected(f"The prompt scripts a fault {self.fault!r}: there is none.")
        raise kind(detail)


def _kinds(root: type[EngineError]) -> Iterator[type[EngineError]]:
    yield root
    for each in root.__subclasses__():
        yield from _kinds(each)
