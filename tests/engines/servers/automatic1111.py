"""A stand-in for AUTOMATIC1111's WebUI (or Forge), faithful where clients get it wrong.

It draws one job at a time, whoever sent it, and replaces silently what it does not know. Its
pictures show which checkpoint, seed and input made them:

```python
with Automatic1111Server(step_s=0.01) as server:
    server.fail("out_of_memory")          # the next run only
    engine = EngineConfig(name="automatic1111", base_url=server.origin)
    ...
    assert opened(image.data).getpixel((0, 0)) == colour("dreamscape", 7)
```
"""

import base64
import gzip
import json
from contextlib import suppress
from typing import Any

from tests.engines.servers import automatic1111_pictures as pictures
from tests.engines.servers.automatic1111_machine import Machine
from tests.engines.servers.automatic1111_rules import (
    FAULTS,
    SAMPLERS,
    SCHEDULERS,
    Checkpoint,
    Fault,
    Json,
    checked,
)
from tests.engines.servers.automatic1111_state import Run
from tests.engines.servers.stand_in import Call, Handler, StandIn, serve_by_hand

#: Answers of gateways that do not let the call through.
REFUSALS = {"busy_503": 503, "too_large_413": 413}
#: How the answer of a run that takes place is lost.
LOSSES = frozenset(["html_502", "gateway_504", "reset", "cut"])
HTML = "<!doctype html><title>Stable Diffusion</title>"


class Automatic1111Server(StandIn):
    """Serves until the end of its `with` block. Drives one `Machine`."""

    machine: Machine

    def __init__(
        self,
        *,
        port: int = 0,
        step_s: float = 0.0,
        load_s: float = 0.0,
        auth: str | None = None,
        subpath: str = "",
        api: bool = True,
        has_ui: bool = True,
        is_forge: bool = False,
        is_old: bool = False,
        checkpoints: list[Checkpoint] | None = None,
    ) -> None:
        """`auth` is `user:password`; without `api` it was not started with `--api`; without
        `has_ui` it was started with `--nowebui`; an old one knows no schedulers.
        """
        super().__init__(_Handler, port=port)
        self.machine = Machine(released=self.released, step_s=step_s, load_s=load_s)
        if checkpoints is not None:
            self.machine = Machine(
                released=self.released, step_s=step_s, load_s=load_s, checkpoints=checkpoints
            )
        self.auth, self.subpath = auth, subpath
        self.api, self.has_ui = api, has_ui
        self.is_forge, self.is_old = is_forge, is_old
        #: Whether it says nothing about the pictures it drew, as stable-diffusion.cpp does.
        self.is_silent = False
        #: Whether questions about progress break.
        self.is_deaf = False
        #: How the coming answers to drawing calls are spoiled, in order.
        self.odd: list[str] = []
        if is_forge:
            self.machine.options |= {"forge_preset": "sd"}

    @property
    def url(self) -> str:
        """The base URL to configure."""
        return self.origin + self.subpath

    @property
    def runs(self) -> list[Run]:
        """Every call to draw that was accepted, in order."""
        return self.machine.runs

    def run(self, prompt: str) -> Run:
        """The only run of this prompt."""
        (run,) = [each for each in self.runs if each.prompt == prompt]
        return run

    def drawing_calls(self) -> list[Json]:
        """The bodies of all calls to draw."""
        return [each.json() for each in self.calls if each.path.endswith("2img")]

    def fail(self, *modes: str) -> None:
        """Make the next runs end so, one mode each; `ok` draws, `stale` does not load the
        checkpoint that is asked for.
        """
        for mode in modes:
            assert mode in FAULTS.keys() | REFUSALS.keys() | LOSSES | {"ok", "stale"}, mode
            self.odd.append(mode if mode in REFUSALS or mode in LOSSES else "")
            if mode not in REFUSALS:
                self.machine.modes.append("ok" if mode in LOSSES else mode)

    def stop_accepting(self) -> None:
        """Take no new connection, as after SIGTERM; the run that is drawn goes on."""
        self._listener.shutdown()
        self._listener.server_close()


class _Handler(Handler):
    @property
    def server_(self) -> Automatic1111Server:
        assert isinstance(self.stand_in, Automatic1111Server)
        return self.stand_in

    def answer(self, call: Call) -> None:
        # A client that went away does not stop a run, it only misses the answer.
        with suppress(BrokenPipeError, ConnectionResetError):
            try:
                self._route(call)
            except Fault as fault:
                self._fail(fault)

    def _route(self, call: Call) -> None:
        server = self.server_
        if not call.path.startswith(server.subpath):
            raise _not_found()
        path = call.path.removeprefix(server.subpath)
        if server.is_deaf and path.endswith("/progress"):
            raise Fault(500, "RuntimeError", "dictionary changed size during iteration")
        api, found, route = path.partition("/sdapi/v1/")
        if found and not api and server.api:
            self._check_auth(call)
            self._answer_api(call, route)
        elif path == "/internal/ping" and server.has_ui:
            self._json({})
        elif path == "/internal/progress" and call.method == "POST" and server.has_ui:
            self._json(server.machine.progress_of(call.json()))
        elif path in {"", "/"} and server.has_ui:
            self.reply(200, HTML.encode(), "text/html")
        else:
            raise _not_found()

    def _check_auth(self, call: Call) -> None:
        """Only the API is behind the password."""
        auth = self.server_.auth
        if auth is None:
            return
        given = call.headers.get("authorization")
        if given is None:
            raise Fault(401, text="Not authenticated")
        if given != "Basic " + base64.b64encode(auth.encode()).decode():
            raise Fault(401, text="Incorrect username or password")

    def _answer_api(self, call: Call, route: str) -> None:
        server, machine = self.server_, self.server_.machine
        match call.method, route:
            case "POST", "txt2img" | "img2img":
                self._draw(call, route)
            case "GET", "options":
                self._json(machine.options)
            case "POST", "options":
                self._set_options(call.json())
            case "GET", "sd-models":
                self._json([each.listing() for each in machine.checkpoints])
            case "GET", "samplers":
                self._json([{"name": each, "aliases": [], "options": {}} for each in SAMPLERS])
            case "GET", "schedulers" if not server.is_old:
                self._json(
                    [{"name": name, "label": label, "aliases": None} for name, label in SCHEDULERS]
                )
            case "GET", "sd-modules" if server.is_forge:
                self._json([])
            case "GET", "sd-vae" if not server.is_forge:
                self._json([])
            case "GET", "progress":
                self._json(
                    machine.progress(skip_picture=call.query.get("skip_current_image") == ["true"])
                )
            case "POST", "interrupt":
                # Whoever's job runs now. The next one to begin clears it.
                machine.state.interrupted = True
                self._json({})
            case "POST", "skip":
                machine.state.skipped = True
                self._json(None)
            case "POST", "refresh-checkpoints":
                with machine.lock():
                    self._json(None)
            case _, "txt2img" | "img2img" | "options" | "interrupt":
                self.reply_json(405, {"detail": "Method Not Allowed"}, {"Allow": "POST"})
            case _:
                raise _not_found()

    def _draw(self, call: Call, kind: str) -> None:
        server = self.server_
        try:
            content = call.json()
        except ValueError as error:
            place = {"loc": ["body", 1], "msg": "Expecting value", "type": "value_error.jsondecode"}
            raise Fault(422, fields=[place]) from error
        body = checked(content, is_edit=kind == "img2img")
        init, mask = [], None
        if kind == "img2img":
            if body["init_images"] is None:
                raise Fault(404, text="Init image not found")
            if not body["init_images"]:
                raise Fault(500, "RuntimeError", "Expected 3D or 4D input to conv2d")
            init = [pictures.decode_input(each) for each in body["init_images"]]
            mask = None if body["mask"] is None else pictures.decode_input(body["mask"])
        for name in [body["script_name"], *body["alwayson_scripts"]]:
            if name is not None:
                raise Fault(422, text=f"Script '{name}' not found")
        if server.is_forge and body["enable_hr"] and body["hr_additional_modules"] is None:
            raise Fault(500, "TypeError", "argument of type 'NoneType' is not iterable")
        odd = server.odd.pop(0) if server.odd else ""
        if odd in REFUSALS:
            self.reply(REFUSALS[odd], b"<html>no</html>", "text/html", {"Retry-After": "7"})
            return
        drawn = server.machine.run(kind, body, init, mask)
        if server.is_silent:
            drawn["info"] = ""
        match odd:
            case "reset":
                self.hang_up()
            case "html_502" | "gateway_504":
                self.reply(int(odd[-3:]), b"<html>gateway</html>", "text/html")
            case _:
                self._json(drawn, cut=odd == "cut")

    def _set_options(self, content: Json) -> None:
        """Change everybody's options, for good. Another checkpoint waits for the lock."""
        machine = self.server_.machine
        for name in content:
            if name not in machine.options:
                raise Fault(500, "KeyError", f"'{name}'")
        wanted = content.get("sd_model_checkpoint")
        if wanted is not None:
            checkpoint = machine.named(wanted)
            if checkpoint is None:
                raise Fault(500, "RuntimeError", f"model '{wanted}' not found")
            with machine.lock():
                machine.load(checkpoint)
        machine.options |= content
        self._json(None)

    def _fail(self, fault: Fault) -> None:
        server = self.server_
        if server.auth:
            fault = Fault(
                fault.status, fault.exception, fault.text.format(auth=server.auth), fault.fields
            )
        headers = {}
        if fault.status == 401 and server.is_forge:
            headers["WWW-Authenticate"] = "Basic"
        body = {"detail": fault.text} if fault.status == 404 and fault == _not_found() else None
        self.reply_json(fault.status, body or fault.body(is_forge=server.is_forge), headers)

    def _json(self, content: Any, *, cut: bool = False) -> None:
        """Answer well, packed where the client takes it."""
        data, headers = json.dumps(content).encode(), {"x-process-time": "0.01"}
        if len(data) > 500 and "gzip" in self.headers.get("Accept-Encoding", ""):
            data = gzip.compress(data, 1)
            headers["Content-Encoding"] = "gzip"
        self.reply(200, data, "application/json", headers, cut=cut)


def _not_found() -> Fault:
    return Fault(404, text="Not Found")


if __name__ == "__main__":
    serve_by_hand(lambda port: Automatic1111Server(port=port, step_s=0.1, load_s=2.0))
