"""From a job to OpenAI's answer: the pictures, or what became of them."""

from collections.abc import Callable, Sequence
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
from darkroom.domain import Job, JobStatus, StoredImage, Usage


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
        response.response = answering(job.id, [body], services)
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


#: How one picture is shown in an answer.
Show = Callable[[StoredImage], dict[str, str]]


def images_answer(job: Job, images: Sequence[StoredImage], show: Show) -> dict[str, Any]:
    """The body for a finished job. Raises what `show` does."""
    items = [show(each) | _revised(each) for each in images]
    answer = {"created": int(job.finished_at or job.created_at), "data": items}
    usage = {"usage": usage_answer(job.usage)} if job.usage else {}
    return answer | known_of(job, images) | usage


def usage_answer(usage: Usage) -> dict[str, Any]:
    """Tokens as OpenAI's answers count them."""
    return {
        "total_tokens": usage.total_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_tokens_details": {
            "text_tokens": usage.input_text_tokens,
            "image_tokens": usage.input_image_tokens,
        },
    }


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


def shown_encoded(services: Services) -> Show:
    """Pictures in base64. Raises NotFound or Unavailable when a file cannot be read."""
    return lambda image: {"b64_json": encoded(image, services)}


def shown_linked(services: Services) -> Show:
    """Links to pictures, at the address that this request came to."""
    here = request.host_url.rstrip("/")
    return lambda image: {"url": here + services.links.path(image.id)}


def wants_url(response_format: str | None, model: str) -> bool:
    """Whether links are wanted: asked for, or usual for the model."""
    if response_format is not None:
        return response_format == "url"
    return "dall-e" in model.rpartition("/")[2]


def _answer(job: Job, asked: Asked, services: Services) -> Response:
    if not job.status.is_finished:
        return envelope_of(still_drawing(job))
    if job.status is not JobStatus.SUCCEEDED:
        return envelope_of_job(job)
    images = services.storage.images.of_job(job.id)
    linked = wants_url(asked.response_format, asked.order.model or job.model)
    show = shown_linked(services) if linked else shown_encoded(services)
    body = images_answer(job, images, show)
    return Response(orjson.dumps(body), content_type="application/json")


def _revised(image: StoredImage) -> dict[str, str]:
    return {} if image.revised_prompt is None else {"revised_prompt": image.revised_prompt}
