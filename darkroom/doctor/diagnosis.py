"""What the doctor says of one part."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from darkroom.errors import DarkroomError


class Grade(StrEnum):
    """How a part is. Only one that failed keeps the service from working."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """How one part is: what was found, and what to do about it."""

    part: str
    grade: Grade = Grade.OK
    detail: str

    def __str__(self) -> str:
        word = self.grade if self.grade is Grade.OK else self.grade.upper()
        return f"{word:<7} {self.part}: {self.detail}"


def well(part: str, detail: str) -> Diagnosis:
    return Diagnosis(part=part, detail=detail)


def doubtful(part: str, detail: str) -> Diagnosis:
    return Diagnosis(part=part, grade=Grade.WARNING, detail=detail)


def failed(part: str, detail: str) -> Diagnosis:
    return Diagnosis(part=part, grade=Grade.FAILED, detail=detail)


def diagnose(part: str, examine: Callable[[], Diagnosis]) -> Diagnosis:
    """What `examine` finds; an error of ours is a part that failed."""
    try:
        return examine()
    except DarkroomError as error:
        return failed(part, error.detail)
