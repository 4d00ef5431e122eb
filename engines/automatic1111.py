"""AUTOMATIC1111's Stable Diffusion WebUI, and its fork Forge: free, local, one job at a time."""

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, Model, Operation, Progress, Size
from darkroom.errors import (
    Canceled,
    DeadlineExceeded,
    EngineFailed,
    Misconfigured,
    ModelNotOffered,
    OutcomeUnknown,
)
from engines.answers import Answer
from engines.automatic1111_address import root_of
from engines.automatic1111_answer import Info, read_pictures
from engines.automatic1111_checkpoints import Checkpoint, find, read_checkpoints
from engines.automatic1111_errors import ADDRESS_SETTING, AUTH_SETTING, PARAMS_SETTING
from engines.automatic1111_request import Params, body_for
from engines.automatic1111_samplers import check_sampler
from engines.automatic1111_server import CONNECT_TIMEOUT_S, Questions, Server
from engines.automatic1111_watch import Watch
from engines.base import Engine, Task
from engines.catalog import Catalog
from engines.sizes import nearest_size

logger = logging.getLogger(__name__)

#: The model that stands for whichever checkpoint the server has loaded.
DEFAULT = "default"
#: The longest a check or a listing takes, in seconds.
CHECK_S = 9.0


class Automatic1111(Engine):
    """Draws with a server's checkpoints. Options: `params` (extra fields of the body).

    Nothing of the server is changed: each request carries its own settings.
    """

    paid: ClassVar[bool] = False
    operations: ClassVar[frozenset[Operation]] = frozenset({Operation.GENERATE, Operation.EDIT})
    #: The server takes one at a time, and the others would only wait there.
    max_in_flight: ClassVar[int | None] = 1

    def __init__(self, config: EngineConfig, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        self.params = Params.read({})
        root, auth = "", config.api_key.strip()
        try:
            root = root_of(config.base_url)
            self.params = Params.read(config.options.get("params") or {})
        except ValueError as error:
            setting = PARAMS_SETTING if root else ADDRESS_SETTING
            self.missing = f"Engine {config.name!r} cannot be used: {error}; correct {setting}."
        if not config.base_url.strip():
            self.missing = f"Engine {config.name!r} has no address: set {ADDRESS_SETTING}."
        if self.missing is None and auth and ":" not in auth:
            self.missing = (
                f"Engine {config.name!r} needs a user and a password: set {AUTH_SETTING} to"
                " `user:password`."
            )
        self._server = Server(config.name, root, auth)

    def models(self) -> Sequence[Model]:
        """The checkpoint that is loaded, whichever it is, and those an admin described."""
        described = {each.id: each for each in super().models()}
        default = described.pop(DEFAULT, None) or replace(
            self.catalog.model(self.config.name, DEFAULT), name="The checkpoint that is loaded"
        )
        return [default, *described.values()]

    def list_models(self) -> Sequence[Model]:
        """The one that needs no name, then the server's checkpoints, the loaded one first.

        So a request without a model stays with the server's choice, also when that changes.
        """
        checkpoints, loaded = self._ask_for_checkpoints()
        ids = sorted(checkpoints, key=lambda each: checkpoints[each] is not loaded)
        listed = [self.catalog.model(self.config.name, each) for each in ids if each != DEFAULT]
        return [self.models()[0], *listed]

    def check(self) -> str:
        """Ask for the settings and the checkpoints, which is free."""
        name = self.config.name
        checkpoints, loaded = self._ask_for_checkpoints()
        if not checkpoints:
            raise Misconfigured(
                f"Engine {name!r} has no checkpoint: put one into its folder"
                " models/Stable-diffusion."
            )
        count = "one checkpoint" if len(checkpoints) == 1 else f"{len(checkpoints)} checkpoints"
        which = "none" if loaded is None else repr(loaded.name)
        return f"Engine {name!r} answers and lists {count}; {which} is loaded."

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        """Draw all pictures in one call, and follow it.

        Picture k uses the seed plus k. An interrupt is sent only for a run that is surely ours.
        """
        deadline = time.monotonic() + task.timeout_s
        questions = Questions(deadline=deadline, keep_waiting=progress)
        progress(0.0)
        checkpoint = self._checkpoint_for(task, questions)
        check_sampler(self.params, self._server, questions)
        # A new one for each try: the server may still hold the run of an earlier one.
        run_id = f"darkroom-{task.job_id}-{task.attempt}-{secrets.token_hex(4)}"
        body = body_for(
            task,
            params=self.params,
            checkpoint=None if checkpoint is None else checkpoint.title,
            size=self._size_for(task),
            run_id=run_id,
        )
        watch = Watch(self._server, run_id, progress)
        watch.begin()
        try:
            answer = self._server.http.call(
                "POST",
                self._server.url("img2img" if task.images else "txt2img"),
                json=body,
                timeout_s=deadline - time.monotonic(),
                connect_timeout_s=CONNECT_TIMEOUT_S,
                keep_waiting=watch,
            )
            content = self._content(answer, questions)
        except (Canceled, DeadlineExceeded, OutcomeUnknown):
            # Nobody will get its pictures, and others wait for the server.
            watch.interrupt()
            raise
        return self._pictures(task, content, checkpoint, watch)

    def _ask_for_checkpoints(self) -> tuple[dict[str, Checkpoint], Checkpoint | None]:
        """The server's checkpoints by their ids, and which of them is loaded."""
        questions = Questions(deadline=time.monotonic() + CHECK_S)
        options = self._server.ask("options", dict, questions)
        checkpoints = read_checkpoints(self._server.ask("sd-models", list, questions))
        loaded = options.get("sd_model_checkpoint")
        return checkpoints, find(loaded, checkpoints.values()) if loaded else None

    def _checkpoint_for(self, task: Task, questions: Questions) -> Checkpoint | None:
        """The checkpoint to ask for; None for the loaded one.

        The server must be known to have it: one it does not know it silently replaces.
        """
        name = self.config.name
        wanted = self.params.checkpoint if task.model == DEFAULT else task.model
        if wanted is None:
            return None
        checkpoints = read_checkpoints(self._server.ask("sd-models", list, questions))
        found = checkpoints.get(wanted) or find(wanted, checkpoints.values())
        if found is None and task.model == DEFAULT:
            raise Misconfigured(
                f"Engine {name!r} has no checkpoint {wanted!r}: correct {PARAMS_SETTING}."
            )
        if found is None:
            raise ModelNotOffered(
                f"Engine {name!r} has no checkpoint {wanted!r}: choose one that it lists, or put"
                " the file into its folder and refresh its list."
            )
        return found

    def _size_for(self, task: Task) -> Size | None:
        """The size asked for; for an edit without one, that of its picture, as far as it goes."""
        if task.request.size is not None or not task.images:
            return task.request.size
        model = self.catalog.model(self.config.name, task.model)
        return nearest_size(task.images[0].size, model.capabilities.sizes)

    def _content(self, answer: Answer, questions: Questions) -> dict[str, Any]:
        """What a drawing call answered. Raises the EngineError that says why without pictures."""
        content = answer.json()
        if answer.is_success and isinstance(content, dict) and content.get("images"):
            return content
        raise self._server.failure(answer, questions, params=self.params.names)

    def _pictures(
        self, task: Task, content: dict[str, Any], checkpoint: Checkpoint | None, watch: Watch
    ) -> list[GeneratedImage]:
        name, info = self.config.name, Info.read(content.get("info"))
        if watch.was_interrupted(info.began):
            raise EngineFailed(
                f"Someone interrupted the run on engine {name!r}, and its pictures are unfinished:"
                " ask again."
            )
        self._verify(checkpoint, info)
        images = content["images"]
        pictures = read_pictures(
            images if isinstance(images, list) else [],
            info,
            count=task.request.count,
            has_mask=task.mask is not None,
        )
        if not pictures:
            raise EngineFailed(f"Engine {name!r} answered without a picture that can be decoded.")
        return pictures

    def _verify(self, checkpoint: Checkpoint | None, info: Info) -> None:
        """Raise EngineFailed when another checkpoint drew than the one that was asked for."""
        name, sampler = self.config.name, self.params.sampler
        if sampler and info.sampler and not sampler.startswith(info.sampler):
            logger.warning(
                "Engine %r used the sampler %r instead of %r.", name, info.sampler, sampler
            )
        if checkpoint is None:
            return
        is_right = checkpoint.has_drawn(info.checkpoint, info.checkpoint_hash)
        if is_right is None:
            logger.warning("Engine %r does not say which checkpoint drew.", name)
        elif not is_right:
            raise EngineFailed(
                f"Engine {name!r} drew with {self._server.http.scrub(str(info.checkpoint))!r}"
                f" instead of {checkpoint.name!r}, so its pictures were dropped: refresh its list"
                " of checkpoints."
            )
