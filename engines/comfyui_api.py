"""ComfyUI over HTTP: each call of it that we need, and what comes back."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from darkroom.errors import EngineFailed, EngineUnreachable, Misconfigured, OutcomeUnknown
from engines.answers import Answer
from engines.comfyui_address import Address
from engines.comfyui_errors import ADDRESS_SETTING, refused_prompt, transport_error
from engines.comfyui_workflow import Nodes
from engines.http import Form, Http

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 30.0
#: Pictures go up and come down.
TRANSFER_TIMEOUT_S = 120.0

Tick = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The prompts that a server has yet to finish, by their ids."""

    running: frozenset[str]
    pending: frozenset[str]

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self.running or prompt_id in self.pending


@dataclass(frozen=True)
class PictureRef:
    """A picture on the server's disk."""

    filename: str
    subfolder: str
    folder: str


class ComfyServer:
    """Calls one server. Reading calls raise EngineUnreachable or EngineBusy when it is away, and
    Misconfigured when what answers is not ComfyUI or does not let us in.
    """

    def __init__(self, engine: str, address: Address, key: str) -> None:
        self.engine = engine
        self.address = address
        self.headers = address.headers(key)
        _, _, password = address.login.partition(":")
        self._http = Http(engine, headers=self.headers, secrets=[key, password])
        self.scrub = self._http.scrub

    def post(self, nodes: Nodes, *, prompt_id: str, client_id: str, tick: Tick) -> str:
        """Queue a workflow and return its id, which very old servers choose themselves.

        Raises OutcomeUnknown when it may be queued though no answer says so, and when only parts
        of the workflow were accepted, Refused with that id. Other errors say that it is not queued.
        """
        answer = self._call(
            "POST",
            "/prompt",
            json={"prompt": nodes, "prompt_id": prompt_id, "client_id": client_id},
            tick=tick,
        )
        content = answer.json()
        if isinstance(content, dict) and answer.status in {200, 400}:
            if answer.status == 400:
                raise refused_prompt(content, engine=self.engine, scrub=self.scrub)
            accepted = str(content.get("prompt_id") or prompt_id)
            if content.get("node_errors"):
                raise PartlyAccepted(accepted, content)
            return accepted
        if answer.status == 500:
            raise EngineFailed(
                f"Engine {self.engine!r} could not read the workflow (status 500): its own log says"
                " why.",
                upstream_status=500,
            )
        raise transport_error(answer, engine=self.engine)

    def history(self, prompt_id: str, *, tick: Tick) -> Mapping[str, Any] | None:
        """The record of a run that is over; None as long as there is none."""
        content = self._read(f"/history/{quote(prompt_id, safe='')}", tick=tick)
        entry = content.get(prompt_id) if isinstance(content, dict) else None
        return entry if isinstance(entry, dict) else None

    def queue(self, *, tick: Tick, timeout_s: float = CALL_TIMEOUT_S) -> Queue:
        content = self._read("/queue", tick=tick, timeout_s=timeout_s)
        if not isinstance(content, dict):
            raise self._strange()
        return Queue(
            running=_ids(content.get("queue_running")), pending=_ids(content.get("queue_pending"))
        )

    def view(self, picture: PictureRef, *, tick: Tick) -> bytes:
        """The bytes of a picture. Raises EngineFailed when the file is gone."""
        query = urlencode(
            {
                "filename": picture.filename,
                "subfolder": picture.subfolder,
                "type": picture.folder,
            }
        )
        answer = self._call("GET", f"/view?{query}", tick=tick, timeout_s=TRANSFER_TIMEOUT_S)
        if answer.status in {400, 404}:
            raise EngineFailed(
                f"Engine {self.engine!r} saved a picture and does not have it any more (status"
                f" {answer.status}): keep others from emptying its folders.",
                upstream_status=answer.status,
            )
        if not answer.is_success:
            raise transport_error(answer, engine=self.engine)
        return answer.body

    def upload(self, name: str, data: bytes, content_type: str, *, tick: Tick) -> str:
        """Hand over a picture, and return the name that workflows call it by from now on."""
        form: Form = [("image", (name, data, content_type)), ("type", "input")]
        try:
            answer = self._call(
                "POST", "/upload/image", form=form, tick=tick, timeout_s=TRANSFER_TIMEOUT_S
            )
        except OutcomeUnknown as lost:
            raise EngineUnreachable(
                f"Engine {self.engine!r} did not take the picture to change: try again."
            ) from lost
        content = answer.json()
        if not answer.is_success:
            raise transport_error(answer, engine=self.engine)
        if not isinstance(content, dict) or not isinstance(content.get("name"), str):
            raise self._strange()
        subfolder = content.get("subfolder")
        return f"{subfolder}/{content['name']}" if subfolder else str(content["name"])

    def version(self, *, timeout_s: float) -> str:
        """Which ComfyUI answers."""
        content = self._read("/system_stats", timeout_s=timeout_s)
        system = content.get("system") if isinstance(content, dict) else None
        if not isinstance(system, dict):
            raise self._strange()
        return self.scrub(str(system.get("comfyui_version") or "of unknown version"))

    def files(self, folder: str, *, tick: Tick, timeout_s: float) -> list[str] | None:
        """The model files in a folder; None when the server does not list them so."""
        answer = self._call("GET", f"/models/{folder}", tick=tick, timeout_s=timeout_s)
        content = answer.json()
        if answer.status == 404:
            return None
        if not answer.is_success or not isinstance(content, list):
            raise self._unlike(answer)
        return [each for each in content if isinstance(each, str)]

    def node_info(self, kind: str, *, tick: Tick, timeout_s: float) -> Mapping[str, Any] | None:
        """What a kind of node takes; None when the server has no such kind."""
        content = self._read(f"/object_info/{quote(kind, safe='')}", tick=tick, timeout_s=timeout_s)
        info = content.get(kind) if isinstance(content, dict) else None
        return info if isinstance(info, dict) else None

    def send(self, path: str, content: object, *, timeout_s: float) -> Answer:
        """POST something that draws nothing, and return whatever comes back."""
        return self._call("POST", path, json=content, timeout_s=timeout_s)

    def _read(
        self, path: str, *, tick: Tick = lambda: None, timeout_s: float = CALL_TIMEOUT_S
    ) -> Any:
        answer = self._call("GET", path, tick=tick, timeout_s=timeout_s)
        if not answer.is_success or answer.is_web_page or answer.json() is None:
            raise self._unlike(answer)
        return answer.json()

    def _call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        form: Form | None = None,
        tick: Tick = lambda: None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Answer:
        if timeout_s <= 0:
            raise EngineUnreachable(f"There was no time left to ask engine {self.engine!r}.")
        return self._http.call(
            method,
            self.address.base + path,
            json=json,
            form=form,
            timeout_s=timeout_s,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            keep_waiting=tick,
        )

    def _unlike(self, answer: Answer) -> Exception:
        return self._strange() if answer.is_success else transport_error(answer, engine=self.engine)

    def _strange(self) -> Misconfigured:
        return Misconfigured(
            f"What answers for engine {self.engine!r} is not ComfyUI: correct {ADDRESS_SETTING}."
        )


class PartlyAccepted(Exception):
    """A workflow of which the server dropped some outputs, and runs the rest."""

    def __init__(self, prompt_id: str, content: Mapping[str, Any]) -> None:
        super().__init__(prompt_id)
        self.prompt_id = prompt_id
        self.content = content


def options(info: Mapping[str, Any], key: str) -> list[str] | None:
    """What an input that offers a choice offers; None when it does not say.

    Servers have two forms of that, side by side: `[[…], {…}]` and `["COMBO", {"options": […]}]`.
    """
    inputs = info.get("input")
    groups: Iterable[Any] = inputs.values() if isinstance(inputs, dict) else ()
    for group in groups:
        spec = group.get(key) if isinstance(group, dict) else None
        if not isinstance(spec, list) or not spec:
            continue
        listed = spec[0]
        if not isinstance(listed, list):
            details = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
            listed = details.get("options")
        if isinstance(listed, list):
            return [each for each in listed if isinstance(each, str)]
    return None


def _ids(items: Any) -> frozenset[str]:
    return frozenset(
        str(item[1])
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, list) and len(item) > 1
    )
