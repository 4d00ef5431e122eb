"""From a job to OpenAI's answer: the pictures, or what became of them."""

from collections.abc import Sequence
from typing import Any

import orjson
import pybase64
from flask import Response, request
from werkzeug.datastructures import Headers

from api.answers import awaited, job_url, warning_headers
from api.openai.envelope import envelope_of, envelope_of_job
from api.openai.errors import StillDrawing
from api.openai.repeats import accept, answering, give_up
from api.openai.schemas import Asked
from api.services import Services
from darkroom.domain import Job, JobStatus, StoredImage


def draw_and_answer(asked: Asked, services: Services) -> Response:
    """Accept an order, wait for it, and answer with its pictures, or with what went wrong.

    When the wait ends first the answer is an error that asks to send the call again; the job goes
    on, and the repeated call finds it.
    """
    job = accept(asked.order, services)
    if not job.status.is_finished:
        job = awaited(job, services.settings.wait_s, services)
    response = _answer(job, asked, services)
    if job.status.is_finished:
        body = response.get_data()
        response.response = answering(job, [body], services)
        response.content_length = len(body)
    else:
        give_up(job, services)
    response.headers.extend(headers_of(job))
    return response


def headers_of(job: Job) -> Headers:
    """What every answer about a job says beside its body."""
    headers = warning_headers(job.warnings)
    headers["Darkroom-Job"] = job.id
    return headers


def still_drawing(job: Job) -> StillDrawing:
    """What a call is told that nobody lets wait any longer."""
    return StillDrawing(
        f"The pictures are not finished yet, the job goes on: send the same request again to wait"
        f" on for it, or follow {job_url(job)}."
    )


def images_answer(
    job: Job, images: Sequence[StoredImage], *, as_urls: bool, services: Services
) -> dict[str, Any]:
    """The body for a finished job. Raises NotFound or Unavailable when a file cannot be read."""
    items = [_item(each, as_url=as_urls, services=services) for each in images]
    answer = {"created": int(job.finished_at or job.created_at), "data": items}
    return answer | known_of(job, images)


def known_of(job: Job, images: Sequence[StoredImage]) -> dict[str, str]:
    """What OpenAI's answers say of all pictures, as far as it is known."""
    sizes = {f"{each.width}x{each.height}" for each in images}
    formats = {each.content_type.removeprefix("image/") for each in images}
    known = {
        "size": sizes.pop() if len(sizes) == 1 else None,
        "quality": job.request.quality,
        "background": job.request.background,
        "output_format": formats.pop() if len(formats) == 1 else None,
    }
    return {name: value for name, value in known.items() if value and value != "auto"}


def encoded(image: StoredImage, services: Services) -> str:
    """A picture in base64. Raises NotFound or Unavailable."""
    with services.storage.gallery.open(image) as file:
        return pybase64.b64encode(file.read()).decode()


def wants_urls(job: Job, asked: Asked) -> bool:
    """Whether the caller is to get links: asked for, or usual for the model they named."""
    if asked.response_format is not None:
        return asked.response_format == "url"
    return "dall-e" in (asked.order.model or job.model).rpartition("/")[2]


def _answer(job: Job, asked: Asked, services: Services) -> Response:
    if not job.status.is_finished:
        return envelope_of(still_drawing(job))
    if job.status is not JobStatus.SUCCEEDED:
        return envelope_of_job(job)
    images = services.storage.images.of_job(job.id)
    body = images_answer(job, images, as_urls=wants_urls(job, asked), services=services)
    return Response(orjson.dumps(body), content_type="application/json")


def _item(image: StoredImage, *, as_url: bool, services: Services) -> dict[str, str]:
    if as_url:
        item = {"url": request.host_url.rstrip("/") + services.links.path(image.id)}
    else:
        item = {"b64_json": encoded(image, services)}
    return item if image.revised_prompt is None else item | {"revised_prompt": image.revised_prompt}
