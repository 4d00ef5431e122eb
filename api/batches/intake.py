"""The intake of a batch: every item is read, planned and fitted before any of them is accepted.

What is wrong is collected, line by line, so that a caller mends everything at once. Memory does not
grow with the batch: items go to a draft, which is a file.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import orjson
from marshmallow import ValidationError

from api.auth import current_user
from api.batches.expanding import MOST_ITEMS
from api.errors import flattened, parse_json
from api.inputs import read_inputs
from api.orders import Order
from api.planning import Planner
from api.services import Services
from api.submission import with_files
from darkroom.domain import BatchItem, ImageRequest, Operation
from darkroom.errors import (
    InvalidBatch,
    InvalidRequest,
    LineProblem,
    Misconfigured,
    ModelNotAllowed,
)
from storage.chunks import Draft, unpacked

#: How many problems are listed; all are counted.
MOST_LISTED = 1000

#: How many different pictures one batch may have fetched while the call waits.
MOST_LINKS = 100

#: How long reading the pictures of a batch may take, in seconds: those that were read first are
#: held for an hour only, unless the batch is accepted.
PICTURES_WITHIN_S = 1800.0


class LineReader(Protocol):
    """Reads the lines of one batch."""

    def __call__(self, line: int, body: Any) -> Iterator[tuple[str, Order]]:
        """The orders that a line comes to, each with what its owner calls it.

        Raises ValidationError or InvalidRequest.
        """


class InvalidJsonLine(InvalidRequest):
    """A line is no JSON object."""

    code = "invalid_json_line"


class RepeatedCustomId(InvalidRequest):
    """Two items of a batch have the same name."""

    code = "duplicate_custom_id"


class TooManyItems(InvalidRequest):
    """The batch goes on behind the last item that it may have."""

    code = "too_many_items"


class Intake:
    """Takes the items of one batch in."""

    def __init__(self, services: Services, read: LineReader) -> None:
        self._planner = Planner(services, current_user().limits)
        self._services = services
        self._read = read
        self._problems = Problems()
        self._taken_ids: set[bytes] = set()
        self._has_edits = False

    def take(self, lines: Iterable[tuple[int, Any]], draft: Draft) -> None:
        """Add every item to the draft. Raises InvalidBatch that lists what is wrong with which."""
        for line, body in lines:
            with self._problems.of(line):
                content = _json_of(body) if isinstance(body, bytes) else body
                for custom_id, order in self._read(line, content):
                    self._take(line, custom_id, order, draft)
        self._problems.refuse_any()
        if draft.total == 0:
            raise InvalidBatch("The batch has no items.", param="items")

    def read_pictures(self, draft: Draft, finished: Draft, batch_id: str) -> Draft:
        """Keep the pictures that items work on, under the batch's id. Returns the draft that names
        their files: `finished`, unless there are none to keep. Raises InvalidBatch."""
        if not self._has_edits:
            return draft
        pictures = _Pictures(self._services, batch_id)
        give_up_at = time.monotonic() + PICTURES_WITHIN_S
        for chunk in draft.chunks():
            for item in unpacked(chunk.packed):
                if time.monotonic() > give_up_at:
                    raise InvalidBatch(
                        "Reading its pictures takes too long: make several batches of it.",
                        param="image",
                    )
                with self._problems.of(item.line):
                    finished.add(replace(item, request=pictures.kept(item.request)))
        self._problems.refuse_any()
        return finished

    def _take(self, line: int, custom_id: str, order: Order, draft: Draft) -> None:
        if draft.total >= MOST_ITEMS:
            self._problems.stop(
                line, TooManyItems(f"A batch has at most {MOST_ITEMS:,} items.", param="body")
            )
        self._refuse_repeated(custom_id)
        plan = self._planner.plan(order)
        self._has_edits = self._has_edits or order.operation is Operation.EDIT
        draft.add(
            BatchItem(
                line=line,
                custom_id=custom_id,
                engine=plan.engine,
                model=plan.model,
                request=plan.request,
                warnings=plan.warnings,
                metadata=order.metadata,
                deadline=order.deadline,
            )
        )

    def _refuse_repeated(self, custom_id: str) -> None:
        # As hashes, fifty thousand of which are small.
        digest = hashlib.blake2b(custom_id.encode(errors="surrogatepass"), digest_size=16).digest()
        if digest in self._taken_ids:
            raise RepeatedCustomId(f"{custom_id!r} is used twice in the batch.", param="custom_id")
        self._taken_ids.add(digest)


class Problems:
    """What is wrong with a batch."""

    def __init__(self) -> None:
        self._listed: list[LineProblem] = []
        self._count = 0

    @contextmanager
    def of(self, line: int) -> Iterator[None]:
        """Note what is wrong with a line, and go on with the next."""
        try:
            yield
        except ValidationError as error:
            for param, detail in flattened(error.messages):
                self._note(LineProblem(line=line, param=param, detail=detail))
        except (Misconfigured, ModelNotAllowed) as error:
            self._note(LineProblem(line=line, param="model", detail=error.detail, code=error.code))
        except InvalidBatch:
            raise
        except InvalidRequest as error:
            self._note_refusal(line, error)

    def stop(self, line: int, error: InvalidRequest) -> None:
        """Note what makes looking at the rest useless. Raises InvalidBatch."""
        self._note_refusal(line, error)
        self.refuse_any()

    def refuse_any(self) -> None:
        """Raises InvalidBatch when anything was noted."""
        if not self._count:
            return
        first = self._listed[0]
        more = f" ({self._count - 1} more in `errors`.)" if self._count > 1 else ""
        raise InvalidBatch(
            f"Line {first.line}: {first.param}: {first.detail}{more} Nothing was accepted.",
            param=first.param,
            lines=tuple(self._listed),
            count=self._count,
        )

    def _note_refusal(self, line: int, error: InvalidRequest) -> None:
        param = error.param or "body"
        self._note(LineProblem(line=line, param=param, detail=error.detail, code=error.code))

    def _note(self, problem: LineProblem) -> None:
        self._count += 1
        if len(self._listed) < MOST_LISTED:
            self._listed.append(problem)


class _Pictures:
    """The pictures that the items of one batch work on: each is read and kept once."""

    def __init__(self, services: Services, batch_id: str) -> None:
        self._services = services
        self._batch_id = batch_id
        self._kept: dict[bytes, ImageRequest] = {}
        self._links: set[str] = set()

    def kept(self, request: ImageRequest) -> ImageRequest:
        texts = orjson.dumps([request.images, request.mask])
        digest = hashlib.sha256(texts).digest()
        if digest not in self._kept:
            self._refuse_many_links(request)
            inputs = read_inputs(request.images, request.mask, self._services)
            if inputs.all:
                self._services.storage.inputs.keep(self._batch_id, inputs.all)
            self._kept[digest] = with_files(ImageRequest(prompt=""), inputs)
        found = self._kept[digest]
        return replace(request, images=found.images, mask=found.mask)

    def _refuse_many_links(self, request: ImageRequest) -> None:
        texts = (*request.images, *((request.mask,) if request.mask else ()))
        links = {each for each in texts if each.startswith(("http://", "https://"))}
        if len(self._links | links) > MOST_LINKS:
            raise ValidationError(
                {
                    "image": [
                        f"A batch may link to at most {MOST_LINKS} pictures: send the others along"
                        " as base64."
                    ]
                }
            )
        self._links |= links


def _json_of(line: bytes) -> Any:
    try:
        return parse_json(line)
    except InvalidRequest as error:
        raise InvalidJsonLine(error.detail, param="body") from error
