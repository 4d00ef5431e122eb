"""The client raises what the server raised."""

import pytest

from api.errors import STATUSES
from darkroom import errors
from darkroom.client.problems import error_of


def _all(root: type[errors.DarkroomError]) -> list[type[errors.DarkroomError]]:
    return [root, *(each for below in root.__subclasses__() for each in _all(below))]


def _status(kind: type[errors.DarkroomError]) -> int:
    return next(STATUSES[each] for each in kind.__mro__ if each in STATUSES)


@pytest.mark.parametrize(
    "kind",
    [
        each
        for each in _all(errors.DarkroomError)
        if each.__module__ == "darkroom.errors" and "code" in vars(each)
    ],
)
def test_every_code_comes_back_as_its_class(kind: type[errors.DarkroomError]) -> None:
    expected = errors.InvalidRequest if kind is errors.CallerError else kind

    error = error_of({"code": kind.code, "detail": "It broke."}, status=_status(kind))

    assert type(error) is expected
    assert error.detail == "It broke."


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequest),
        (401, errors.NotSignedIn),
        (403, errors.PermissionDenied),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.BodyTooLarge),
        (418, errors.CallerError),
        (429, errors.LimitReached),
        (500, errors.DarkroomError),
        (502, errors.Unavailable),
        (503, errors.Unavailable),
    ],
)
def test_an_unknown_code_is_the_nearest_by_status(
    status: int, kind: type[errors.DarkroomError]
) -> None:
    error = error_of({"code": "brand_new", "request_id": "r1"}, status=status)

    assert type(error) is kind
    assert error.problem == {"code": "brand_new", "request_id": "r1"}


def test_every_field_at_fault_is_told() -> None:
    faults = [{"param": "size", "detail": "Too big."}, {"param": "n", "detail": "Too many."}]

    error = error_of(
        {"code": "request_invalid", "param": "size", "detail": "No.", "errors": faults}, status=400
    )

    assert isinstance(error, errors.InvalidRequest)
    assert error.param == "size"
    assert error.problems == (("size", "Too big."), ("n", "Too many."))


def test_lines_of_a_batch_at_fault_are_told() -> None:
    faults = [{"line": 3, "param": "size", "detail": "Too big."}]

    error = error_of({"code": "request_invalid", "errors": faults, "error_count": 9}, status=400)

    assert isinstance(error, errors.InvalidBatch)
    assert [(each.line, each.param, each.detail) for each in error.lines] == [
        (3, "size", "Too big.")
    ]
    assert error.count == 9
