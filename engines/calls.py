"""Several paid calls for one job, and what they share when one of them fails."""

import logging
from collections.abc import Callable, Sequence

from darkroom.domain import GeneratedImage, ImageRequest, Progress
from darkroom.errors import (
    EngineError,
    EngineFailed,
    Misconfigured,
    OutcomeUnknown,
    RequestRejected,
)
from engines.answers import Answer
from engines.base import Task

logger = logging.getLogger(__name__)


def one_after_another(
    task: Task,
    requests: Sequence[ImageRequest],
    draw: Callable[[ImageRequest], list[GeneratedImage]],
    progress: Progress,
) -> list[GeneratedImage]:
    """The pictures of as many calls as it takes to have those that `task` asks for.

    When a later call fails, the pictures of the earlier ones are returned: they are paid for.
    """
    images: list[GeneratedImage] = []
    for position, request in enumerate(requests):
        if len(images) >= task.request.count:
            break
        try:
            progress(position / len(requests))
            images += draw(request)
        except EngineError as error:
            if not images:
                raise
            logger.warning(
                "Job %s keeps %d of %d pictures: %s",
                task.job_id,
                len(images),
                task.request.count,
                error.detail,
            )
            break
    return images[: task.request.count]


def error_by_status(
    answer: Answer,
    name: str,
    *,
    status: int,
    said: str,
    param: str | None,
    address_setting: str,
) -> EngineError:
    """The error for an answer about which nothing is known but its status."""
    match status:
        case _ if status in {408, 499} or status >= 500:
            return OutcomeUnknown(
                f"{name} failed with status {status}. The pictures may have been drawn, and"
                f" charged; ask again only if that is acceptable.{said}",
                upstream_status=status,
            )
        case _ if status >= 400:
            return RequestRejected(
                f"{name} refused the request (status {status}): change it.{said}",
                upstream_status=status,
                param=param,
            )
        case _ if status >= 300:
            return Misconfigured(
                f"{name} redirects to another address: set {address_setting} to that one.",
                upstream_status=status,
            )
        case _ if answer.is_web_page:
            return Misconfigured(
                f"{name} answered with a web page: correct {address_setting}.",
                upstream_status=status,
            )
        case _:
            return EngineFailed(f"{name} answered without pictures.{said}", upstream_status=status)
