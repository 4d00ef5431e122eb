"""OpenAI's Images API, and the many servers that speak it: Azure, LocalAI, gateways."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, ImageRequest, Model, Operation, Progress
from darkroom.errors import EngineError, EngineUnreachable, OutcomeUnknown
from engines.answers import Answer
from engines.base import Engine, Task
from engines.calls import one_after_another
from engines.catalog import Catalog
from engines.http import Form, Http
from engines.openai_address import Address
from engines.openai_body import Extras, as_text, body
from engines.openai_errors import ADDRESS_SETTING, KEY_SETTING, error_for, error_in_stream
from engines.openai_models import living_first, merge
from engines.openai_pictures import PictureReader
from engines.openai_stream import PictureStream
from engines.tokens import openai_usage, with_usage

logger = logging.getLogger(__name__)

DEFAULT_BASE_URL = "https://api.openai.com/v1"
VERSION_SETTING = "DARKROOM_IMAGES_OPENAI_API_VERSION"
#: How many unfinished pictures OpenAI itself is asked to show of each; they cost a little. Other
#: servers may not know how to, and are asked only when an admin says so.
PARTIAL_IMAGES = 1


class OpenAIImages(Engine):
    """Draws with OpenAI's models. Options: `api_version`, `params` (extra fields of the body)."""

    operations: ClassVar[frozenset[Operation]] = frozenset(Operation)

    def __init__(self, config: EngineConfig, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        key = config.api_key.strip()
        try:
            self.address = Address.parse(
                config.base_url or DEFAULT_BASE_URL, str(config.options.get("api_version") or "")
            )
        except ValueError as error:
            self.address = Address.parse(DEFAULT_BASE_URL)
            self.missing = (
                f"Engine {config.name!r} has no usable address: {error}; set {ADDRESS_SETTING}."
            )
        else:
            self.missing = self._what_is_missing(key)
        self.extras = Extras.read(config.options.get("params") or {})
        self._http = Http(config.name, headers=self.address.headers(key), secrets=[key])
        self._reader = PictureReader(self._http, self.address)

    def _what_is_missing(self, key: str) -> str | None:
        name = self.config.name
        if not key and self.address.is_vendor:
            return f"Engine {name!r} has no key: set {KEY_SETTING}."
        if not (key.isascii() and key.isprintable()):
            return f"The key of engine {name!r} holds characters no key has: correct {KEY_SETTING}."
        if self.address.is_classic_azure and not self.address.api_version:
            return f"Engine {name!r} on Azure needs an API version: set {VERSION_SETTING}."
        return None

    def models(self) -> Sequence[Model]:
        """The known models; those that OpenAI switched off come last, for other servers may have
        them.
        """
        return living_first(super().models())

    def list_models(self) -> Sequence[Model]:
        """The models it lists that draw, with what is known of them."""
        entries = self._listing()
        if self.address.is_classic_azure:
            # It lists what could be deployed, and not what is, under names of the admin's choice.
            return self.models()
        is_vendor = self.address.is_vendor
        listed = merge(entries, self.catalog, self.config.name, is_vendor=is_vendor)
        # A compatible server that lists nothing may draw all the same.
        return listed if listed or is_vendor else self.models()

    def check(self) -> str:
        """List the models, which is free."""
        return f"Engine {self.config.name!r} answers and lists {len(self._listing())} models."

    def _listing(self) -> list[Any]:
        name = self.config.name
        answer = self._http.call(
            "GET", self.address.models(), connect_timeout_s=5.0, timeout_s=10.0
        )
        content = answer.json()
        entries = content.get("data") if isinstance(content, dict) else None
        if answer.is_success and isinstance(entries, list):
            return entries
        error = error_for(answer, engine=name, model=None, scrub=self._http.scrub)
        if isinstance(error, OutcomeUnknown):
            # Nothing was asked to be drawn.
            raise EngineUnreachable(
                f"Engine {name!r} is out of order (status {answer.status}): try again later.",
                upstream_status=answer.status,
            ).traced(code=error.upstream_code, request_id=error.upstream_request_id)
        raise error

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        """Draw in one call, or in as many as the model needs; a single picture may be shown while
        it is drawn.

        When a later call fails, the pictures of the earlier ones are returned: they are paid for.
        """
        deadline = time.monotonic() + task.timeout_s
        files = _files(task)
        return one_after_another(
            task,
            _split(task.model, task.request),
            lambda request: self._draw(task, request, files, progress, deadline),
            progress,
        )

    def _draw(
        self,
        task: Task,
        request: ImageRequest,
        files: Form,
        progress: Progress,
        deadline: float,
    ) -> list[GeneratedImage]:
        model = self.catalog.model(self.config.name, task.model)
        fields = body(task.model, request, self.extras, partial_images=self._partial_images(model))
        stream = PictureStream(progress, partial_images=fields.get("partial_images", 0))
        is_edit = request.operation is Operation.EDIT
        answer = self._http.call(
            "POST",
            (self.address.edits if is_edit else self.address.generations)(task.model),
            json=None if is_edit else fields,
            form=[*as_text(fields), *files] if is_edit else None,
            timeout_s=deadline - time.monotonic(),
            keep_waiting=progress,
            on_event=stream.take if "stream" in fields else None,
        )
        logger.info(
            "Job %s: engine %s answered %d, request %s",
            task.job_id,
            self.config.name,
            answer.status,
            answer.headers.get("x-request-id"),
        )
        items = [stream.final] if stream.final else _items(answer)
        if not items:
            raise self._error(answer, stream, model, request.operation)
        # From here on the pictures are paid for, so nobody is asked whether to go on.
        images = self._reader.read(items[: request.count], deadline)
        return with_usage(images, openai_usage(stream.final or answer.json()))

    def _partial_images(self, model: Model) -> int:
        wanted = self.extras.partial_images
        if wanted is None:
            wanted = PARTIAL_IMAGES if self.address.is_vendor else 0
        return max(min(wanted, model.capabilities.max_partial_images), 0)

    def _error(
        self, answer: Answer, stream: PictureStream, model: Model, operation: Operation
    ) -> EngineError:
        name, scrub = self.config.name, self._http.scrub
        if not answer.is_event_stream:
            return error_for(answer, engine=name, model=model, scrub=scrub, operation=operation)
        return error_in_stream(
            stream.error,
            answer,
            engine=name,
            model=model,
            scrub=scrub,
            is_begun=stream.is_begun,
        )


def _split(model: str, request: ImageRequest) -> list[ImageRequest]:
    """One request per call: `dall-e-3` draws a single picture each time."""
    if model == "dall-e-3":
        return [replace(request, count=1)] * request.count
    return [request]


def _files(task: Task) -> Form:
    if not task.images:
        return []
    # Pillow loads here, in the worker, and not where engines are only listed.
    from engines.openai_form import picture_parts

    return picture_parts(task)


def _items(answer: Answer) -> list[Any]:
    """The pictures of an answer that is not streamed, as it holds them."""
    content = answer.json()
    items = content.get("data") if isinstance(content, dict) else None
    return items if answer.is_success and isinstance(items, list) else []
