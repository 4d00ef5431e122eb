"""What the tests of the ComfyUI driver share."""

from threading import Thread
from typing import Any

from darkroom.errors import DarkroomError
from engines.catalog import Catalog
from engines.comfyui import ComfyUI
from tests.engines.builders import Reports, a_task, comfyui_config
from tests.engines.servers.comfyui import ComfyUIServer


def engine_at(comfy: ComfyUIServer, **options: Any) -> ComfyUI:
    return ComfyUI(comfyui_config(comfy, **options), Catalog())


class InBackground:
    """A call to an engine that another thread waits for."""

    def __init__(self, engine: ComfyUI, reports: Reports, **task: Any) -> None:
        self.images: list[Any] = []
        self.error: DarkroomError | None = None
        self._thread = Thread(target=self._work, args=(engine, reports, task), daemon=True)
        self._thread.start()

    def _work(self, engine: ComfyUI, reports: Reports, task: dict[str, Any]) -> None:
        try:
            self.images = engine.generate(a_task("dream.safetensors", **task), reports)
        except DarkroomError as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


class Stop(Reports):
    """Raises `reason` once it is told to."""

    def __init__(self, reason: DarkroomError) -> None:
        super().__init__(until=self._stop)
        self._reason = reason
        self.now = False

    def _stop(self) -> None:
        if self.now:
            raise self._reason
