"""Google's Gemini and Imagen models, and servers that speak Google's API."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, ImageRequest, Model, Operation, Progress
from darkroom.errors import EngineError, EngineUnreachable, OutcomeUnknown
from engines.base import Engine, Task
from engines.calls import one_after_another
from engines.catalog import IMAGEN, Catalog
from engines.gemini_address import Address
from engines.gemini_answers import field, items_of, read_pictures, text_of
from engines.gemini_calls import Method, batches, body_for, carried
from engines.gemini_errors import (
    ADDRESS_SETTING,
    KEY_SETTING,
    METHOD_SETTING,
    content_of,
    error_for,
)
from engines.http import Http

logger = logging.getLogger(__name__)

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
#: How long asking for all models may take, in seconds.
LISTING_TIMEOUT_S = 10.0


class Gemini(Engine):
    """Draws and edits with Google's models. Option: `endpoint_method`."""

    operations: ClassVar[frozenset[Operation]] = frozenset({Operation.GENERATE, Operation.EDIT})

    def __init__(self, config: EngineConfig, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        key = config.api_key.strip()
        chosen = str(config.options.get("endpoint_method") or "").strip()
        #: How every model is called; None to choose by model.
        self.method = next((each for each in Method if each == chosen), None)
        try:
            self.address = Address.parse(config.base_url or DEFAULT_BASE_URL)
        except ValueError as error:
            self.address = Address.parse(DEFAULT_BASE_URL)
            self.missing = (
                f"Engine {config.name!r} has no usable address: {error}; set {ADDRESS_SETTING}."
            )
        else:
            self.missing = self._what_is_missing(key, chosen)
        self._http = Http(config.name, headers=self.address.headers(key), secrets=[key])

    def _what_is_missing(self, key: str, chosen: str) -> str | None:
        name = self.config.name
        if not key and self.address.is_vendor:
            return f"Engine {name!r} has no key: set {KEY_SETTING}."
        if not (key.isascii() and key.isprintable()):
            return f"The key of engine {name!r} holds characters no key has: correct {KEY_SETTING}."
        if chosen and self.method is None:
            known = " or ".join(Method)
            return f"Engine {name!r} has no method {chosen!r}: set {METHOD_SETTING} to {known}."
        if self.address.is_vertex and "/projects/" not in self.address.base:
            return (
                f"Engine {name!r} on Google Cloud needs its project and location: set"
                f" {ADDRESS_SETTING} to …/v1/projects/PROJECT/locations/LOCATION/publishers/google."
            )
        return None

    def models(self) -> Sequence[Model]:
        """The known models; without those that Google switched off, where this is Google."""
        listed = [self._as_called(each) for each in super().models()]
        if not self.address.is_vendor:
            return listed
        today = datetime.now(UTC).date().isoformat()
        return [each for each in listed if each.retired_on is None or each.retired_on > today]

    def model(self, model_id: str) -> Model:
        """What is known of `model_id`, called as it would be; any may be asked for."""
        return self._as_called(self.catalog.model(self.config.name, model_id))

    def list_models(self) -> Sequence[Model]:
        """The models the server lists that draw: the known ones first, the others in its order."""
        offered = {each.id: each for each in map(self._listed, self._listing()) if each}
        known = [each.id for each in self.catalog.models(self.config.name) if each.id in offered]
        return [offered[each] for each in dict.fromkeys([*known, *offered])]

    def check(self) -> str:
        """List the models, which is free."""
        count = len(self.list_models())
        return f"Engine {self.config.name!r} answers and lists {count} models that draw."

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        """Draw in as many calls as the model needs, one after the other.

        When a later call fails, the pictures of the earlier ones are returned: they are paid for.
        """
        deadline = time.monotonic() + task.timeout_s
        return one_after_another(
            task,
            batches(self._method_for(task.model), task.request),
            lambda request: self._draw(task, request, progress, deadline),
            progress,
        )

    def _draw(
        self, task: Task, request: ImageRequest, progress: Progress, deadline: float
    ) -> list[GeneratedImage]:
        name, method, scrub = self.config.name, self._method_for(task.model), self._http.scrub
        answer = self._http.call(
            "POST",
            self.address.method(task.model, method),
            json=body_for(method, task, request),
            timeout_s=deadline - time.monotonic(),
            keep_waiting=progress,
        )
        content = content_of(answer)
        response_id = scrub(text_of(content, "responseId")) or None
        logger.info(
            "Job %s: engine %s answered %d, response %s",
            task.job_id,
            name,
            answer.status,
            response_id,
        )
        if not answer.is_success or not isinstance(content, dict) or "error" in content:
            raise error_for(answer, engine=name, model=self.model(task.model), scrub=scrub)
        try:
            images = read_pictures(method, content, engine=name, scrub=scrub)
        except EngineError as error:
            error.traced(code=error.upstream_code, request_id=response_id)
            raise
        return [replace(each, seed=request.seed) for each in images]

    def _method_for(self, model_id: str) -> Method:
        if self.method is not None:
            return self.method
        name = model_id.removeprefix("models/")
        return Method.PREDICT if name.startswith("imagen") else Method.GENERATE_CONTENT

    def _as_called(self, model: Model) -> Model:
        """The model with only what its method can carry."""
        method, capabilities = self._method_for(model.id), model.capabilities
        if method is Method.PREDICT and not self._is_described(model.id):
            capabilities = IMAGEN
        return replace(model, capabilities=carried(capabilities, method))

    def _is_described(self, model_id: str) -> bool:
        return any(each.id == model_id for each in self.catalog.models(self.config.name))

    def _listing(self) -> list[Any]:
        """Every entry of the server's list, from all its pages."""
        deadline = time.monotonic() + LISTING_TIMEOUT_S
        entries: list[Any] = []
        token = ""
        while True:
            page = self._page(token, deadline)
            found = field(page, "publisherModels" if self.address.is_vertex else "models")
            entries += found if isinstance(found, list) else []
            token = text_of(page, "nextPageToken")
            if not token:
                return entries

    def _page(self, token: str, deadline: float) -> Any:
        name = self.config.name
        answer = self._http.call(
            "GET",
            self.address.models(token),
            connect_timeout_s=5.0,
            timeout_s=deadline - time.monotonic(),
        )
        content = content_of(answer)
        if answer.is_success and isinstance(content, dict) and "error" not in content:
            return content
        error = error_for(answer, engine=name, model=None, scrub=self._http.scrub)
        if isinstance(error, OutcomeUnknown):
            # Nothing was asked to be drawn.
            raise EngineUnreachable(
                f"Engine {name!r} is out of order (status {answer.status}): try again later.",
                upstream_status=answer.status,
            )
        raise error

    def _listed(self, entry: Any) -> Model | None:
        """A model of the list when it draws. Nothing says so of Gemini models but their names."""
        model_id = text_of(entry, "name").rpartition("models/")[2]
        if self._is_described(model_id):
            return self.model(model_id)
        methods = items_of(entry, "supportedGenerationMethods")
        is_called_so = "image" in model_id or "banana" in model_id
        is_callable = not methods or Method.GENERATE_CONTENT in methods
        if not (Method.PREDICT in methods or (is_called_so and is_callable)):
            return None
        return replace(self.model(model_id), name=text_of(entry, "displayName") or model_id)
