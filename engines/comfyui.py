"""ComfyUI: draws with whatever workflow an admin pasted, or with one of ours."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, Model, Operation, Progress
from engines.base import Engine, Task
from engines.catalog import Catalog
from engines.comfyui_address import Address
from engines.comfyui_api import ComfyServer, Tick
from engines.comfyui_check import verify
from engines.comfyui_drawing import Drawing
from engines.comfyui_errors import ADDRESS_SETTING, EDIT_WORKFLOW_SETTING, WORKFLOW_SETTING
from engines.comfyui_mapping import Role
from engines.comfyui_models import first_checkpoint, list_files
from engines.comfyui_plan import FROM_MASKED_PICTURE, FROM_PICTURE, FROM_TEXT, Plan
from engines.comfyui_workflow import UnusableWorkflow, Workflow

#: The id of the model that needs no name: the workflow's own, or the server's first checkpoint.
DEFAULT_MODEL = "default"


class ComfyUI(Engine):
    """Draws with a ComfyUI server.

    Options: `workflow` (API format, as text or object), `workflow_nodes` (which of its nodes take
    what, where that is not to be inferred).
    """

    paid: ClassVar[bool] = False
    operations: ClassVar[frozenset[Operation]] = frozenset(Operation)
    resumes: ClassVar[bool] = True
    #: It draws one prompt at a time and lets others wait in its own queue. A few keep it from ever
    #: idling; more would wait there, out of reach of lanes and of serving users in turn.
    max_in_flight: ClassVar[int | None] = 4

    def __init__(self, config: EngineConfig, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        self._pasted, unusable = _pasted(config)
        self.missing = self._what_is_missing() or unusable
        try:
            address = Address.parse(config.base_url)
        except ValueError:
            address = Address(base="")
        self.server = ComfyServer(config.name, address, config.api_key.strip())
        self.drawing = self._pasted or FROM_TEXT
        self.editing, self.repainting = FROM_PICTURE, FROM_MASKED_PICTURE
        # A workflow that loads no picture would silently ignore the one to change.
        if self.drawing.takes_pictures:
            self.editing = self.repainting = self.drawing
        self.capabilities = self.drawing.capabilities(
            editing=self.editing, repainting=self.repainting
        )

    def _what_is_missing(self) -> str | None:
        name, key = self.config.name, self.config.api_key.strip()
        if not self.config.base_url.strip():
            return f"Engine {name!r} has no address: set {ADDRESS_SETTING}."
        try:
            Address.parse(self.config.base_url)
        except ValueError as error:
            return f"Engine {name!r} has no usable address: {error}; set {ADDRESS_SETTING}."
        if not (key.isascii() and key.isprintable()):
            return f"The key of engine {name!r} holds characters no key has: correct it."
        return None

    def describe(self, operation: Operation) -> Mapping[str, Any]:
        """Which nodes of the workflow take what: role, then the ids of its nodes and their input.

        It is what was inferred, or what the admin's list says.
        """
        plan = self.drawing if operation is Operation.GENERATE else self.editing
        return plan.nodes.described()

    def models(self) -> Sequence[Model]:
        """The one that needs no name, and those an admin described in the catalog."""
        own = self.drawing.model
        name = f"{own} (of the workflow)" if own else "The server's first checkpoint"
        if self._pasted is not None and own is None:
            name = "The model of the workflow"
        return [self._model(DEFAULT_MODEL, name), *super().models()]

    def list_models(self) -> Sequence[Model]:
        """Ask the server for the files that the workflow's model can be chosen from."""
        files = list_files(self.server, self.drawing)
        known = self.models()
        listed = {each.id for each in known}
        return [*known, *(self._model(each, each) for each in files if each not in listed)]

    def model(self, model_id: str) -> Model | None:
        """Any file may be asked for, where the workflow has a node that loads one."""
        for each in self.models():
            if each.id == model_id:
                return each
        return self._model(model_id, model_id) if self.drawing.nodes[Role.MODEL] else None

    def check(self) -> str:
        """Ask which ComfyUI answers, and whether it has all that the workflow needs."""
        return verify(self.server, self.drawing)

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        """Draw in one prompt where the workflow has a batch size, else in one for each picture.

        All pictures of a batch have the seed that is reported; further prompts count up from it.
        When a later prompt fails, the pictures of the earlier ones are returned.
        """
        plan = self.drawing
        if task.images:
            plan = self.editing if task.mask is None else self.repainting

        def choose_model(tick: Tick) -> str | None:
            if task.model != DEFAULT_MODEL:
                return task.model
            if not plan.is_default:
                return None
            return self.drawing.checkpoint or first_checkpoint(self.server, tick=tick)

        return Drawing(self.server, plan, task, progress, choose_model=choose_model).pictures()

    def _model(self, model_id: str, name: str) -> Model:
        return Model(
            id=model_id, name=name, engine=self.config.name, capabilities=self.capabilities
        )


def _pasted(config: EngineConfig) -> tuple[Plan | None, str | None]:
    """The workflow that an admin pasted, if any, and why it cannot be used."""
    try:
        workflow = Workflow.read(config.options.get("workflow"))
        listed = config.options.get("workflow_nodes") or ()
        return (None if workflow is None else Plan.of(workflow, listed)), None
    except UnusableWorkflow as error:
        return None, (
            f"Engine {config.name!r} cannot use its workflow, because {error}; correct"
            f" {WORKFLOW_SETTING} (for edits {EDIT_WORKFLOW_SETTING})."
        )
