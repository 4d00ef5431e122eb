"""What the exit codes of commands that use a server mean. Commands of the service end with 1."""

from collections.abc import Mapping

from darkroom import errors
from darkroom.errors import DarkroomError

OK = 0
FAILED = 1
WRONG_USE = 2
NOT_ALLOWED = 3
UNREACHABLE = 4
INTERRUPTED = 130

#: By exception class; the nearest ancestor counts.
CODES: Mapping[type[DarkroomError], int] = {
    DarkroomError: FAILED,
    errors.InvalidRequest: WRONG_USE,
    errors.BodyTooLarge: WRONG_USE,
    errors.WrongMediaType: WRONG_USE,
    errors.NotSignedIn: NOT_ALLOWED,
    errors.PermissionDenied: NOT_ALLOWED,
    errors.Unavailable: UNREACHABLE,
}

EXPLAINED = """\b
Exit codes:
  0    done
  1    a job, or some items of a batch, failed or were canceled
  2    wrong options or input
  3    not signed in, or not allowed
  4    no server answers
  130  interrupted with Ctrl-C"""


def exit_code(error: DarkroomError) -> int:
    return next(CODES[each] for each in type(error).__mro__ if each in CODES)
