"""A stand-in for ComfyUI, faithful where clients get it wrong.

It validates workflows, runs them one at a time in a thread of its own, tells about it on
WebSockets, and keeps histories; what it draws shows what it was drawn from:

```python
with ComfyUIServer() as server:
    engine = EngineConfig(name="comfyui", base_url=server.origin)
    ...
    assert len(server.accepted) == 1
```

By hand: `python -m tests.engines.servers.comfyui --port 8188`.
"""

import email
import email.policy
import io
import json
import re
import uuid
from collections import deque
from threading import Lock
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from PIL import Image

from tests.engines.servers.comfyui_nodes import Refused, object_info, validate
from tests.engines.servers.comfyui_sockets import ServerSocket, accept_key
from tests.engines.servers.comfyui_worker import Floor, Prompt, Worker
from tests.engines.servers.stand_in import Call, Handler, Json, StandIn, serve_by_hand

CHECKPOINTS = ["dream.safetensors", "rotten.safetensors", "sub/paint.ckpt"]
UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
PLAIN_500 = b"500 Internal Server Error\n\nServer got itself in trouble"

#: What the next `POST /prompt` does instead of answering well.
MODES = frozenset(
    {"ok", "lost_answer", "lost_request", "queued_502", "html_502", "busy", "broken", "late"}
)


class ComfyUIServer(StandIn):
    """`is_old` is a build of 2025: it has no jobs, and interrupts whatever runs.

    `key` is asked for as a bearer token, as by a proxy before it.
    """

    def __init__(
        self, *, is_old: bool = False, key: str = "", step_s: float = 0.0, port: int = 0
    ) -> None:
        super().__init__(_Handler, port=port)
        self.is_old = is_old
        self.key = key
        self.floor = Floor()
        self.worker = Worker(self.floor)
        self.worker.step_s = step_s
        self.models = {
            "checkpoints": list(CHECKPOINTS),
            "diffusion_models": ["flux.safetensors"],
            "unet_gguf": ["flux-q4.gguf"],
        }
        #: Whether `/models/…` is served; very old builds have only `/object_info`.
        self.lists_models = True
        #: Very old builds choose the ids of prompts themselves.
        self.ignores_prompt_id = False
        self.takes_sockets = True
        #: Each socket is greeted, and then hears nothing.
        self.sockets_are_silent = False
        #: Hangs up on every call, as while it restarts.
        self.is_away = False
        self.max_upload_bytes = 100 * 2**20
        #: Pictures land in another folder than the client may think.
        self.renames_uploads = False
        self.hangs_up_on_uploads = False
        #: Whether the pictures it names are still there when they are asked for.
        self.keeps_files = True
        self.modes: deque[str] = deque()
        #: The ids of the prompts it queued.
        self.accepted: list[str] = []
        #: The client id of every WebSocket, in order.
        self.connected: list[str] = []
        #: Very old builds know no feature flags; their previews name no prompt.
        self.takes_flags = True
        #: The client ids of the connections that asked for previews that name their prompt.
        self.flagged: list[str] = []
        self._numbers = Lock()

    @property
    def graphs(self) -> list[Json]:
        """The workflows that were posted, whatever became of them."""
        return [each.json()["prompt"] for each in self.calls_to("/prompt") if each.body]

    def fail(self, *modes: str) -> None:
        """Make the next posts of prompts behave so, one mode each."""
        assert set(modes) <= MODES, modes
        self.modes.extend(modes)

    def restart(self) -> None:
        """Lose the queue, the history, all connections and all previews; keep what was saved."""
        with self.floor.changed:
            self.floor.life += 1
            self.floor.pending.clear()
            self.floor.running = None
            self.floor.history.clear()
            self.floor.files = {
                key: data for key, data in self.floor.files.items() if key[0] != "temp"
            }
        self.worker.forget()
        self.drop_sockets()

    def drop_sockets(self) -> None:
        for socket in list(self.floor.sockets.values()):
            socket.close()
        self.floor.sockets.clear()
        for connection in list(self.open_connections):
            connection.drop()

    def lose(self, prompt_id: str) -> None:
        """Someone else deletes a prompt that waits: no event tells of it."""
        with self.floor.changed:
            self.floor.pending = [each for each in self.floor.pending if each.id != prompt_id]

    def queue(self, graph: Json, client_id: str | None = None) -> str:
        """Queue somebody else's prompt."""
        prompt_id = str(uuid.uuid4())
        extra = {"client_id": client_id} if client_id else {}
        outputs, _ = validate(graph, self.choices, is_old=self.is_old)
        self.enqueue(prompt_id, graph, extra, outputs)
        return prompt_id

    def enqueue(self, prompt_id: str, graph: Json, extra: Json, outputs: list[str]) -> float:
        with self.floor.changed:
            number = len(self.accepted) + 1
            self.accepted.append(prompt_id)
            life = self.floor.life
            self.floor.pending.append(Prompt(number, prompt_id, graph, extra, outputs, life))
            self.floor.changed.notify_all()
        self.worker.broadcast_status()
        return number

    @property
    def choices(self) -> dict[str, list[str]]:
        names = [
            f"{subfolder}/{name}" if subfolder else name
            for folder, subfolder, name in self.floor.files
            if folder == "input"
        ]
        return {**self.models, "input": names}

    def __enter__(self) -> Self:
        self.open_connections: list[_Handler] = []
        self.worker.start()
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.worker.held.clear()
        self.worker.stop()
        self.drop_sockets()
        super().__exit__(kind, error, trace)


class _Handler(Handler):
    @property
    def comfy(self) -> ComfyUIServer:
        server = self.stand_in
        assert isinstance(server, ComfyUIServer)
        return server

    def answer(self, call: Call) -> None:
        server = self.comfy
        origin = call.headers.get("origin")
        if server.is_away:
            self.hang_up()
        elif len(call.body) < int(call.headers.get("content-length") or 0):
            # Whoever asked left in the middle of it.
            self.close_connection = True
        elif origin is not None and not origin.endswith(f"//{call.headers['host']}"):
            self.reply(403, b"", "")
        elif server.key and call.headers.get("authorization") != f"Bearer {server.key}":
            self.reply(401, b"<html>401 Authorization Required</html>", "text/html")
        else:
            path = call.path
            if path.startswith("/api/") and not path.startswith("/api/jobs"):
                path = path.removeprefix("/api")
            self._route(call, path)

    def _route(self, call: Call, path: str) -> None:
        first, _, rest = path.removeprefix("/").partition("/")
        rest = unquote(rest)
        match call.method, first:
            case "GET", "ws":
                self._talk(call)
            case "POST", "prompt":
                self._prompt(call)
            case "GET", "prompt":
                self.reply_json(200, {"exec_info": {"queue_remaining": self.comfy.floor.remaining}})
            case "GET", "system_stats":
                version = "0.3.64" if self.comfy.is_old else "0.38.1"
                system = {"os": "linux", "comfyui_version": version, "argv": ["main.py"]}
                self.reply_json(200, {"system": system, "devices": []})
            case "GET", "features":
                self.reply_json(200, {"supports_preview_metadata": True})
            case "GET", "models" if self.comfy.lists_models:
                files = self.comfy.models.get(rest)
                self.reply(404, b"", "") if files is None else self.reply_json(200, files)
            case "GET", "object_info":
                self.reply_json(200, object_info(rest, self.comfy.choices))
            case "GET", "queue":
                self._queue()
            case "POST", "queue":
                self._change_queue(call)
            case "POST", "interrupt":
                self._interrupt(call)
            case "GET", "history":
                entry = self.comfy.floor.history.get(rest)
                self.reply_json(200, {} if entry is None else {rest: entry})
            case "POST", "upload":
                self._upload(call)
            case "GET", "view":
                self._view(call)
            case "POST", "free":
                self.comfy.worker.forget()
                self.reply(200, b"", "")
            case "POST", "api" if not self.comfy.is_old:
                self._cancel(rest)
            case _:
                self.reply(404, b"", "application/octet-stream")

    def _prompt(self, call: Call) -> None:
        server = self.comfy
        mode = server.modes.popleft() if server.modes else "ok"
        if mode == "lost_request":
            self.hang_up()
            return
        if mode in {"html_502", "busy", "broken"}:
            status = {"html_502": 502, "busy": 503, "broken": 500}[mode]
            self.reply(status, PLAIN_500 if mode == "broken" else b"<html></html>", "text/html")
            return
        if mode == "late":
            server.hanging.set()
            server.released.wait()
        try:
            status, content = self._accept(call)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError):
            self.reply(500, PLAIN_500, "text/plain; charset=utf-8")
            return
        if mode == "lost_answer":
            self.hang_up()
        elif mode == "queued_502":
            self.reply(502, b"<html>502 Bad Gateway</html>", "text/html")
        else:
            self.reply_json(status, content)

    def _accept(self, call: Call) -> tuple[int, Json]:
        server = self.comfy
        body = call.json()
        if "prompt" not in body:
            text = "No prompt provided"
            error = {"type": "no_prompt", "message": text, "details": text, "extra_info": {}}
            return 400, {"error": error, "node_errors": {}}
        prompt_id = str(body.get("prompt_id") or uuid.uuid4())
        if server.ignores_prompt_id:
            prompt_id = uuid.uuid4().hex
        elif not server.is_old and not UUID.fullmatch(prompt_id):
            error = {"type": "invalid_prompt_id", "message": "prompt_id must be a UUID"}
            return 400, {"error": {**error, "details": "", "extra_info": {}}, "node_errors": {}}
        try:
            outputs, node_errors = validate(body["prompt"], server.choices, is_old=server.is_old)
        except Refused as refused:
            return 400, refused.body
        extra = dict(body.get("extra_data") or {})
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        number = server.enqueue(prompt_id, body["prompt"], extra, outputs)
        return 200, {"prompt_id": prompt_id, "number": number, "node_errors": node_errors}

    def _queue(self) -> None:
        floor = self.comfy.floor
        with floor.changed:
            running = [floor.running.item] if floor.running else []
            pending = [each.item for each in floor.pending]
        self.reply_json(200, {"queue_running": running, "queue_pending": pending})

    def _change_queue(self, call: Call) -> None:
        content = call.json()
        floor = self.comfy.floor
        with floor.changed:
            gone = {*content.get("delete", [])}
            if content.get("clear"):
                gone |= {each.id for each in floor.pending}
            floor.pending = [each for each in floor.pending if each.id not in gone]
        self.comfy.worker.broadcast_status()
        self.reply(200, b"", "")

    def _interrupt(self, call: Call) -> None:
        try:
            prompt_id = call.json().get("prompt_id")
        except ValueError:
            prompt_id = None
        floor = self.comfy.floor
        with floor.changed:
            is_global = self.comfy.is_old or prompt_id is None
            if floor.running and (is_global or floor.running.id == prompt_id):
                floor.interrupted = True
        self.reply(200, b"", "")

    def _cancel(self, rest: str) -> None:
        prompt_id = rest.removeprefix("jobs/").removesuffix("/cancel")
        floor = self.comfy.floor
        with floor.changed:
            before = len(floor.pending)
            floor.pending = [each for each in floor.pending if each.id != prompt_id]
            canceled = len(floor.pending) < before
            if floor.running and floor.running.id == prompt_id:
                floor.interrupted = canceled = True
        if canceled:
            self.comfy.worker.broadcast_status()
        self.reply_json(200, {"cancelled": canceled})

    def _upload(self, call: Call) -> None:
        if len(call.body) > self.comfy.max_upload_bytes:
            self.reply(413, b"413: Request Entity Too Large", "text/plain")
            return
        if self.comfy.hangs_up_on_uploads:
            self.hang_up()
            return
        form = _form(call)
        if "image" not in form or not form["image"][0]:
            self.reply(400, b"", "")
            return
        name, data = form["image"]
        folder = form.get("type", ("", b"input"))[1].decode()
        subfolder = form.get("subfolder", ("", b""))[1].decode()
        if self.comfy.renames_uploads:
            subfolder = "elsewhere"
        files = self.comfy.floor.files
        stem, dot, ending = name.rpartition(".")
        number = 0
        # Another picture of that name stays, and this one gets a new name.
        while files.get((folder, subfolder, name), data) != data and "overwrite" not in form:
            number += 1
            name = f"{stem} ({number}){dot}{ending}"
        files[folder, subfolder, name] = data
        self.reply_json(200, {"name": name, "subfolder": subfolder, "type": folder})

    def _view(self, call: Call) -> None:
        query = {key: values[0] for key, values in call.query.items()}
        name = query.get("filename", "")
        if ".." in name:
            self.reply(400, b"", "")
            return
        key = (query.get("type", "output"), query.get("subfolder", ""), name)
        data = self.comfy.floor.files.get(key)
        if data is None or not self.comfy.keeps_files:
            self.reply(404, b"", "")
            return
        headers = {"Content-Disposition": f'filename="{name}"'}
        if query.get("channel") == "rgb" or "preview" in query:
            # Encoded anew, and so without what was written into the file.
            buffer = io.BytesIO()
            kind = "PNG" if "channel" in query else "WEBP"
            Image.open(io.BytesIO(data)).convert("RGB").save(buffer, kind)
            data = buffer.getvalue()
        self.reply(200, data, "image/png", headers)

    def _talk(self, call: Call) -> None:
        server = self.comfy
        self.close_connection = True
        if not server.takes_sockets or "sec-websocket-key" not in call.headers:
            self.reply(400, b"", "")
            return
        client_id = call.query.get("clientId", [uuid.uuid4().hex])[0]
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(call.headers["sec-websocket-key"]))
        self.end_headers()
        socket = ServerSocket(client_id, self.rfile, self.wfile)
        server.connected.append(client_id)
        server.open_connections.append(self)
        floor = server.floor
        floor.sockets[client_id] = socket
        status = {"exec_info": {"queue_remaining": floor.remaining}}
        socket.send_json("status", {"status": status, "sid": client_id})
        running = floor.running
        if running is not None and running.client_id == client_id:
            # Whoever comes back hears where it is, but not of which prompt.
            socket.send_json("executing", {"node": "3"})
        if server.sockets_are_silent:
            socket.close()
        for position, message in enumerate(socket.messages()):
            self._take(socket, message, is_first=position == 0)
        # Also when a newer connection has that id by now: then it hears nothing any more.
        floor.sockets.pop(client_id, None)
        server.open_connections.remove(self)

    def _take(self, socket: ServerSocket, message: str, *, is_first: bool) -> None:
        content: Any = json.loads(message)
        if is_first and content.get("type") == "feature_flags" and self.comfy.takes_flags:
            self.comfy.flagged.append(socket.client_id)
            socket.wants_metadata = bool(content["data"].get("supports_preview_metadata"))
            flags = {"supports_preview_metadata": True, "max_upload_size": 104_857_600}
            socket.send_json("feature_flags", flags)

    def drop(self) -> None:
        """Cut the connection, as a server that dies."""
        try:
            self.connection.shutdown(2)
        except OSError:
            return


def _form(call: Call) -> dict[str, tuple[str, bytes]]:
    """The parts of a multipart body: file name and content, by field."""
    head = f"Content-Type: {call.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + call.body, policy=email.policy.HTTP)
    parts = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts[str(name)] = (part.get_filename() or "", content)
    return parts


if __name__ == "__main__":
    serve_by_hand(lambda port: ComfyUIServer(port=port, step_s=0.2))
