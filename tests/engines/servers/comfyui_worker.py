"""The single thread of the stand-in for ComfyUI that runs prompts, and tells everyone about it."""

import io
import json
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Condition, Event, Thread
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.engines.servers.comfyui_nodes import KINDS
from tests.engines.servers.comfyui_paint import Broken, Painter
from tests.engines.servers.comfyui_sockets import ServerSocket
from tests.engines.servers.stand_in import Json


class Interrupted(Exception):
    """Someone asked for the running prompt to stop."""


class Abandoned(Exception):
    """The server was restarted, or stops."""


@dataclass
class Prompt:
    """One workflow in the queue."""

    number: float
    id: str
    graph: Json
    extra: Json
    outputs: list[str]
    #: Under which life of the server it was queued.
    life: int = 0

    @property
    def item(self) -> Json:
        return [self.number, self.id, self.graph, self.extra, self.outputs]

    @property
    def client_id(self) -> str | None:
        client_id: str | None = self.extra.get("client_id")
        return client_id


@dataclass
class Floor:
    """Everything the prompts and the HTTP side share; guarded by `changed`."""

    changed: Condition = field(default_factory=Condition)
    pending: list[Prompt] = field(default_factory=list)
    running: Prompt | None = None
    history: dict[str, Json] = field(default_factory=dict)
    sockets: dict[str, ServerSocket] = field(default_factory=dict)
    #: Folder, subfolder and name to bytes.
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    #: Grows with every restart.
    life: int = 0
    interrupted: bool = False

    @property
    def remaining(self) -> int:
        return len(self.pending) + (self.running is not None)


class Worker:
    """Runs the prompts of `floor`, one at a time."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        #: Time per sampling step, and between the last event and the history, in seconds.
        self.step_s = 0.0
        self.history_lag_s = 0.02
        #: While set, samplers wait before their next step.
        self.held = Event()
        #: Set once a sampler has begun.
        self.sampling = Event()
        self.has_previews = True
        #: Whether outputs of cached prompts are only kept for prompts with a client id.
        self.outputs_need_client_id = False
        #: The prompts that were sampled, and not merely found in the cache.
        self.sampled: list[str] = []
        self._cache: dict[str, tuple[Any, ...]] = {}
        self._shown: dict[str, Json] = {}
        self._counters: dict[str, int] = {}
        self._stopped = False
        self._node = ""
        self._thread = Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self.floor.changed:
            self._stopped = True
            self.floor.life += 1
            self.floor.changed.notify_all()
        self._thread.join()

    def forget(self) -> None:
        """As a restart does."""
        self._cache.clear()
        self._shown.clear()

    def broadcast(self, kind: str, data: Json) -> None:
        for socket in list(self.floor.sockets.values()):
            socket.send_json(kind, data)

    def broadcast_status(self) -> None:
        self.broadcast(
            "status", {"status": {"exec_info": {"queue_remaining": self.floor.remaining}}}
        )

    def _work(self) -> None:
        floor = self.floor
        while True:
            with floor.changed:
                while not floor.pending and not self._stopped:
                    floor.changed.wait()
                if self._stopped:
                    return
                floor.pending.sort(key=lambda each: each.number)
                prompt = floor.running = floor.pending.pop(0)
                # Asked for while nothing ran: it does not leak into this one.
                floor.interrupted = False
            self.broadcast_status()
            try:
                self._run(prompt)
            except Abandoned:
                continue

    def _run(self, prompt: Prompt) -> None:
        messages: list[Json] = []
        outputs: Json = {}
        status = "success"

        def tell(kind: str, **data: Any) -> None:
            content = {"prompt_id": prompt.id, **data, "timestamp": int(time.time() * 1000)}
            messages.append([kind, content])
            self._to_owner(prompt, kind, content)

        tell("execution_start")
        signatures = {each: self._signature(prompt.graph, each) for each in prompt.graph}
        cached = [each for each, key in signatures.items() if key in self._cache]
        tell("execution_cached", nodes=cached)
        done: list[str] = []
        try:
            for output in prompt.outputs:
                self._execute(prompt, output, signatures, done, outputs)
        except Interrupted:
            status = "error"
            tell(
                "execution_interrupted",
                node_id=self._node,
                node_type=prompt.graph[self._node]["class_type"],
                executed=done,
            )
        except Broken as broken:
            status = "error"
            tell(
                "execution_error",
                node_id=self._node,
                node_type=prompt.graph[self._node]["class_type"],
                executed=done,
                exception_message=str(broken),
                exception_type=broken.kind,
                traceback=['  File "/srv/comfy/execution.py", line 1, in execute\n'],
                current_inputs={"secret": ["/srv/comfy/models"]},
                current_outputs=list(prompt.graph),
            )
        else:
            tell("execution_success")
        self._finish(prompt, messages, outputs, status)

    def _finish(self, prompt: Prompt, messages: list[Json], outputs: Json, status: str) -> None:
        time.sleep(self.history_lag_s)
        entry = {
            "prompt": prompt.item,
            "outputs": outputs,
            "status": {
                "status_str": status,
                "completed": status == "success",
                "messages": messages,
            },
            "meta": {each: {"node_id": each, "display_node": each} for each in outputs},
        }
        with self.floor.changed:
            if self.floor.life != prompt.life:
                raise Abandoned
            self.floor.running = None
            self.floor.history[prompt.id] = entry
        self.broadcast_status()
        self._to_owner(prompt, "executing", {"node": None, "prompt_id": prompt.id})

    def _execute(
        self,
        prompt: Prompt,
        node_id: str,
        signatures: Mapping[str, str],
        done: list[str],
        outputs: Json,
    ) -> tuple[Any, ...]:
        node = prompt.graph[node_id]
        key = signatures[node_id]
        kind = node["class_type"]
        # A restart may empty it at any moment.
        cached = self._cache.get(key)
        if cached is not None:
            if key in self._shown and node_id not in outputs:
                # The names of the first time, whether the files are still there or not.
                shown = self._shown[key]
                if prompt.client_id or not self.outputs_need_client_id:
                    outputs[node_id] = shown
                self._executed(prompt, node_id, shown)
            return cached
        inputs = {}
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                results = self._execute(prompt, value[0], signatures, done, outputs)
                inputs[name] = results[value[1]]
            else:
                inputs[name] = value
        self._node = node_id
        self._check(prompt)
        self._state(prompt, node_id, 0.0, 1.0)
        self._to_owner(
            prompt,
            "executing",
            {"node": node_id, "display_node": node_id, "prompt_id": prompt.id},
        )
        painter = Painter(
            lambda name: self._open_input(name), lambda *step: self._step(prompt, node_id, *step)
        )
        computed = self._cache[key] = painter.compute(kind, inputs)
        if KINDS[kind].is_output:
            shown = self._shown[key] = self._show(prompt, kind, inputs)
            outputs.update({node_id: shown} if shown else {})
            if shown:
                self._executed(prompt, node_id, shown)
        done.append(node_id)
        self._state(prompt, node_id, 1.0, 1.0, "finished")
        return computed

    def _signature(self, graph: Json, node_id: str) -> str:
        node = graph[node_id]
        parts: list[Any] = [node["class_type"]]
        for name, value in sorted(node["inputs"].items()):
            if isinstance(value, list) and value[0] in graph:
                parts.append([name, self._signature(graph, value[0]), value[1]])
            else:
                parts.append([name, value])
        if node["class_type"].startswith("LoadImage"):
            content = self.floor.files.get(("input", *_split(node["inputs"]["image"])), b"")
            parts.append(sha256(content).hexdigest())
        return sha256(json.dumps(parts).encode()).hexdigest()

    def _open_input(self, name: str) -> Image.Image:
        return Image.open(io.BytesIO(self.floor.files["input", *_split(name)]))

    def _step(
        self, prompt: Prompt, node_id: str, step: int, steps: int, picture: Image.Image
    ) -> None:
        if step == 1:
            self.sampled.append(prompt.id)
        self.sampling.set()
        until = time.monotonic() + self.step_s
        while True:
            self._check(prompt)
            if not self.held.is_set() and time.monotonic() >= until:
                break
            time.sleep(0.002)
        self._state(prompt, node_id, step, steps)
        self._to_owner_or_all(
            prompt,
            "progress",
            {"value": step, "max": steps, "prompt_id": prompt.id, "node": node_id},
        )
        if self.has_previews:
            self._preview(prompt, node_id, picture)

    def _check(self, prompt: Prompt) -> None:
        with self.floor.changed:
            if self.floor.life != prompt.life:
                raise Abandoned
            if self.floor.interrupted:
                self.floor.interrupted = False
                raise Interrupted

    def _show(self, prompt: Prompt, kind: str, inputs: Json) -> Json:
        pictures: list[Image.Image] = inputs["images"]
        if kind == "SaveImageWebsocket":
            for picture in pictures:
                self._to_owner_bytes(prompt, struct.pack(">II", 1, 2) + _png(picture, prompt))
            return {}
        prefix = inputs.get("filename_prefix", "ComfyUI_temp_abcde")
        if ".." in prefix:
            raise Broken(
                "Exception",
                "**** ERROR: Saving image outside the output folder is not allowed.\n"
                " full_output_folder: /srv/comfy/output\n",
            )
        folder = "temp" if kind == "PreviewImage" else "output"
        subfolder, _, stem = prefix.rpartition("/")
        listed = []
        for picture in pictures:
            number = self._counters[prefix] = self._counters.get(prefix, 0) + 1
            name = f"{stem}_{number:05}_.png"
            self.floor.files[folder, subfolder, name] = _png(picture, prompt)
            listed.append({"filename": name, "subfolder": subfolder, "type": folder})
        if kind == "SaveVideo":
            return {"gifs": listed, "text": ["made"], "animated": [True]}
        return {"images": listed}

    def _executed(self, prompt: Prompt, node_id: str, output: Json) -> None:
        self._to_owner(
            prompt,
            "executed",
            {
                "node": node_id,
                "display_node": node_id,
                "output": output,
                "prompt_id": prompt.id,
            },
        )

    def _state(
        self, prompt: Prompt, node_id: str, value: float, most: float, state: str = "running"
    ) -> None:
        self._to_owner_or_all(
            prompt,
            "progress_state",
            {
                "prompt_id": prompt.id,
                "nodes": {
                    node_id: {
                        "value": value,
                        "max": most,
                        "state": state,
                        "node_id": node_id,
                        "prompt_id": prompt.id,
                    }
                },
            },
        )

    def _preview(self, prompt: Prompt, node_id: str, picture: Image.Image) -> None:
        buffer = io.BytesIO()
        picture.resize((16, 16)).save(buffer, "JPEG")
        owner = self.floor.sockets.get(prompt.client_id or "")
        if owner is not None and owner.wants_metadata:
            metadata = json.dumps(
                {"node_id": node_id, "prompt_id": prompt.id, "image_type": "image/jpeg"}
            ).encode()
            owner.send_bytes(struct.pack(">II", 4, len(metadata)) + metadata + buffer.getvalue())
        else:
            self._to_owner_bytes(prompt, struct.pack(">II", 1, 1) + buffer.getvalue())

    def _to_owner(self, prompt: Prompt, kind: str, data: Json) -> None:
        owner = self.floor.sockets.get(prompt.client_id or "")
        if owner is not None:
            owner.send_json(kind, data)

    def _to_owner_or_all(self, prompt: Prompt, kind: str, data: Json) -> None:
        if prompt.client_id:
            self._to_owner(prompt, kind, data)
        else:
            self.broadcast(kind, data)

    def _to_owner_bytes(self, prompt: Prompt, content: bytes) -> None:
        sockets = list(self.floor.sockets.values())
        if prompt.client_id:
            sockets = [each for each in sockets if each.client_id == prompt.client_id]
        for each in sockets:
            each.send_bytes(content)


def _split(name: str) -> tuple[str, str]:
    subfolder, _, stem = name.removesuffix(" [input]").rpartition("/")
    return subfolder, stem


def _png(picture: Image.Image, prompt: Prompt) -> bytes:
    buffer = io.BytesIO()
    metadata = PngInfo()
    metadata.add_text("prompt", json.dumps(prompt.graph))
    picture.save(buffer, "PNG", pnginfo=metadata, compress_level=1)
    return buffer.getvalue()
