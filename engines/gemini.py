"""Google's Gemini and Imagen models, and servers that speak the same API."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pybase64

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, MaskSupport, Model, Operation, Progress
from darkroom.errors import EngineError, EngineUnreachable, OutcomeUnknown
from engines.answers import Answer
from engines.base import Engine, Task
from engines.catalog import Catalog
from engines.gemini_address import Address
from engines.gemini_answer import AnswerReader
from engines.gemini_errors import ADDRESS_SETTING, KEY_SETTING, METHOD_SETTING, error_for
from engines.gemini_sizes import GEMINI_1K, IMAGEN_1K, words_for
from engines.http import Http

logger = logging.getLogger(__name__)

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
GENERATE_CONTENT = "generateContent"
PREDICT = "predict"

#: How many pictures one `predict` draws at most.
MOST_SAMPLES = 4
#: A page holds a thousand models; nobody has more than a few thousand.
MOST_PAGES = 10

#: What the mask is called to a model that has no other way to be given one.
ABOUT_MASK = (
    "The last picture is a mask for the first one: change the first picture only where the mask is"
    " white, and keep everything else as it is."
)


class Gemini(Engine):
    """Draws with Google's models. Options: `endpoint_method` (`generateContent`, `predict`, or
    empty to choose by model).
    """

    operations: ClassVar[frozenset[Operation]] = frozenset(Operation)

    def __init__(self, config: EngineConfig, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        key = config.api_key.strip()
        self.method = str(config.options.get("endpoint_method") or "")
        try:
            self.address = Address.parse(config.base_url or DEFAULT_BASE_URL)
        except ValueError as error:
            self.address = Address.parse(DEFAULT_BASE_URL)
            self.missing = (
                f"Engine {config.name!r} has no usable address: {error}; set {ADDRESS_SETTING}."
            )
        else:
            self.missing = self._what_is_missing(key)
        self._http = Http(config.name, headers=self.address.headers(key), secrets=[key])
        self._reader = AnswerReader(config.name, self._http.scrub)

    def _what_is_missing(self, key: str) -> str | None:
        name = self.config.name
        if not key and self.address.is_vendor:
            return f"Engine {name!r} has no key: set {KEY_SETTING}."
        if not (key.isascii() and key.isprintable()):
            return f"The key of engine {name!r} holds characters no key has: correct {KEY_SETTING}."
        if self.method not in {"", GENERATE_CONTENT, PREDICT}:
            return (
                f"Engine {name!r} has no method {self.method!r}: set {METHOD_SETTING} to"
                f" {GENERATE_CONTENT} or {PREDICT}, or leave it empty."
            )
        return None

    def models(self) -> Sequence[Model]:
        return [self._as_reached(each) for each in super().models()]

    def model(self, model_id: str) -> Model | None:
        found = super().model(model_id)
        return None if found is None else self._as_reached(found)

    def list_models(self) -> Sequence[Model]:
        """The known models that the server has, and others whose names say that they draw."""
        offered: dict[str, str] = {}
        token = ""
        for _ in range(MOST_PAGES):
            answer = self._ask(self.address.models(token))
            content = answer.json()
            for each in content.get("models") or ():
                offered[each["name"].removeprefix("models/")] = each.get("displayName") or ""
            token = content.get("nextPageToken") or ""
            if not token:
                break
        known = [each for each in self.models() if each.id in offered]
        ids = {each.id for each in known}
        others = [
            replace(self._as_reached(self.catalog.model(self.config.name, each)), name=name or each)
            for each, name in offered.items()
            if each not in ids and _draws(each)
        ]
        return [*known, *others]

    def check(self) -> str:
        """List the models, which is free."""
        content = self._ask(self.address.models()).json()
        count = len(content.get("models") or ())
        return f"Engine {self.config.name!r} answers and lists {count} models."

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        """Draw in as many calls as it takes: `generateContent` draws one picture in each.

        When a later call fails, the pictures of the earlier ones are returned: they are paid for.
        """
        deadline = time.monotonic() + task.timeout_s
        images: list[GeneratedImage] = []
        wanted = task.request.count
        at_once = MOST_SAMPLES if self._method_for(task.model) == PREDICT else 1
        for begun in range(0, wanted, at_once):
            try:
                progress(begun / wanted)
                images += self._draw(task, min(wanted - begun, at_once), progress, deadline)
            except EngineError as error:
                if not images:
                    raise
                logger.warning(
                    "Job %s keeps %d of %d pictures: %s",
                    task.job_id,
                    len(images),
                    wanted,
                    error.detail,
                )
                break
        return images[:wanted]

    def _draw(
        self, task: Task, count: int, progress: Progress, deadline: float
    ) -> list[GeneratedImage]:
        method = self._method_for(task.model)
        body = _content_body(task) if method == GENERATE_CONTENT else _predict_body(task, count)
        answer = self._http.call(
            "POST",
            self.address.method(task.model, method),
            json=body,
            timeout_s=deadline - time.monotonic(),
            keep_waiting=progress,
        )
        content = answer.json()
        if not answer.is_success or not isinstance(content, dict):
            raise error_for(
                answer,
                engine=self.config.name,
                model=self.model(task.model),
                scrub=self._http.scrub,
            )
        # From here on it is paid for, so nobody is asked whether to go on.
        if method == GENERATE_CONTENT:
            return self._reader.contents(content)
        return self._reader.predictions(content)

    def _ask(self, url: str) -> Answer:
        """The answer to a question that costs nothing. Raises EngineError when it is none."""
        name = self.config.name
        answer = self._http.call("GET", url, connect_timeout_s=5.0, timeout_s=10.0)
        if answer.is_success and isinstance(answer.json(), dict):
            return answer
        error = error_for(answer, engine=name, model=None, scrub=self._http.scrub)
        if isinstance(error, OutcomeUnknown):
            # Nothing was asked to be drawn.
            raise EngineUnreachable(
                f"Engine {name!r} is out of order (status {answer.status}): try again later.",
                upstream_status=answer.status,
            )
        raise error

    def _method_for(self, model_id: str) -> str:
        return self.method or (PREDICT if model_id.startswith("imagen") else GENERATE_CONTENT)

    def _as_reached(self, model: Model) -> Model:
        """`predict` takes no pictures, whatever the model could do otherwise."""
        if self._method_for(model.id) == GENERATE_CONTENT:
            return model
        blind = replace(model.capabilities, max_input_images=0, mask=MaskSupport.NONE, seed=False)
        return replace(model, capabilities=blind)


def _draws(model_id: str) -> bool:
    """Nothing else tells a model that draws from one that writes."""
    return any(each in model_id for each in ("image", "banana", "imagen"))


def _content_body(task: Task) -> dict[str, Any]:
    request = task.request
    text = request.prompt if task.mask is None else f"{request.prompt}\n\n{ABOUT_MASK}"
    pictures = [(each.data, each.content_type) for each in task.images]
    if task.mask is not None:
        pictures.append((task.mask, "image/png"))
    parts: list[dict[str, Any]] = [{"text": text}]
    parts += [
        {"inlineData": {"mimeType": kind, "data": pybase64.b64encode(data).decode()}}
        for data, kind in pictures
    ]
    # Older models answer in words only, unless pictures are asked for.
    config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
    if request.size is not None:
        words = words_for(request.size, GEMINI_1K)
        config["imageConfig"] = {"aspectRatio": words.aspect}
        if words.scale != "1K":
            # The default, and the only one of models that refuse to be asked.
            config["imageConfig"]["imageSize"] = words.scale
    if request.seed is not None:
        config["seed"] = request.seed
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}


def _predict_body(task: Task, count: int) -> dict[str, Any]:
    request = task.request
    parameters: dict[str, Any] = {
        "sampleCount": count,
        # Without it, what was filtered is missing without a word.
        "includeRaiReason": True,
    }
    if request.size is not None:
        words = words_for(request.size, IMAGEN_1K)
        parameters["aspectRatio"] = words.aspect
        if words.scale != "1K":
            parameters["sampleImageSize"] = words.scale
    return {"instances": [{"prompt": request.prompt}], "parameters": parameters}
