"""Many requests as one."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from darkroom.client.bodies import said
from darkroom.client.files import download
from darkroom.client.following import follow_results
from darkroom.client.records import Batch, BatchResult
from darkroom.client.transport import Call, Transport
from darkroom.spool import Spool

JSON_LINES = "application/x-ndjson"


class Batches:
    """The batches of the account that the key belongs to."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        items: Iterable[Mapping[str, Any] | str],
        *,
        name: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        expand: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """Have the server accept all items, or none.

        An item is a prompt, or the fields of a request with an optional `custom_id`; what it
        leaves out comes from `defaults`. `expand` makes several of each. Items are taken one by
        one, so there may be any number of them. The same `idempotency_key` with the same items is
        the same batch; without one the call makes its own. Raises InvalidBatch, whose `lines`
        say which are at fault.
        """
        params = said({"defaults": defaults, "expand": expand, "metadata": metadata})
        with Spool() as body:
            for each in items:
                item = {"prompt": each} if isinstance(each, str) else dict(each)
                body.write(json.dumps(item).encode() + b"\n")
            created = self._transport.ask(
                Call(
                    method="POST",
                    path="/api/v1/batches",
                    params={"name": name}
                    | {field: json.dumps(value) for field, value in params.items()},
                    headers={
                        "Content-Type": JSON_LINES,
                        "Idempotency-Key": idempotency_key or str(uuid.uuid4()),
                    },
                    body=body,
                    is_repeatable=True,
                )
            )
        return Batch.read(created)

    def list(self, *, limit: int = 50, after: str | None = None) -> list[Batch]:
        """Own batches, newest first; continue behind the one with the id `after`."""
        found = self._get("/api/v1/batches", limit=limit, after=after)
        return [Batch.read(each) for each in found]

    def get(self, batch: Batch | str) -> Batch:
        """A batch as it stands. Raises NotFound."""
        return Batch.read(self._get(_path(batch)))

    def results(self, batch: Batch | str) -> Iterator[BatchResult]:
        """The items that are finished by now, in the order they finished."""
        return self._results(batch, follow=False)

    def follow(self, batch: Batch | str) -> Iterator[BatchResult]:
        """The finished items from the first one on, and each other one as it finishes, until the
        batch is over. Connects again by itself; raises Unavailable after a minute without answer.
        """
        return self._results(batch, follow=True)

    def cancel(self, batch: Batch | str) -> Batch:
        """Cancel all items that are not finished. Canceling again changes nothing."""
        return Batch.read(self._transport.ask(Call(method="POST", path=f"{_path(batch)}/cancel")))

    def retry(self, batch: Batch | str, *, idempotency_key: str | None = None) -> Batch:
        """A new batch of the failed and canceled items. Raises Conflict when there are none, or
        while the batch runs."""
        call = Call(
            method="POST",
            path=f"{_path(batch)}/retry",
            headers={"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
            is_repeatable=True,
        )
        return Batch.read(self._transport.ask(call))

    def archive(self, batch: Batch | str, target: Path | str) -> Path:
        """Save a ZIP of the pictures so far, with a manifest, as the file `target`, or in the
        folder `target`. Returns its path. Raises OSError when it cannot be written."""
        path = Path(target)
        if path.is_dir():
            path /= f"{_id(batch)}.zip"
        return download(self._transport, f"{_path(batch)}/images.zip", path)

    def _results(self, batch: Batch | str, *, follow: bool) -> Iterator[BatchResult]:
        return follow_results(self._transport, _id(batch), lambda: self.get(batch), follow=follow)

    def _get(self, path: str, **params: Any) -> Any:
        return self._transport.ask(Call(method="GET", path=path, params=params, is_repeatable=True))


def _id(batch: Batch | str) -> str:
    return batch if isinstance(batch, str) else batch.id


def _path(batch: Batch | str) -> str:
    return f"/api/v1/batches/{_id(batch)}"
