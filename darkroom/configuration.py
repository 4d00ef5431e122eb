"""What an admin configures while the service runs: which engines, and how they are reached.

The public face is Open WebUI's flat images config (`IMAGES_OPENAI_API_KEY` and its siblings).
`FIELDS` maps each of those names to one place in a small model of engines; the environment
gives the defaults and the database what an admin changed. Everything but the edges (`api` reads
and writes flat names, `settings` reads them from the environment) works with `ImagesConfig`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from darkroom.pools import Server, read_servers

Kind = Literal["text", "flag", "number", "object", "list", "servers"]
Value = str | bool | int | dict[str, Any] | list[Any] | None


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How to reach one engine. What a driver needs beyond an address and a key is in `options`."""

    name: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: How many jobs one server of it takes at once; None for as many as its driver says.
    max_in_flight: int | None = None
    #: Its servers, where it has several.
    servers: tuple[Server, ...] = ()
    #: Which of them this is; None where there is no list.
    server: str | None = None

    def members(self) -> "tuple[EngineConfig, ...]":
        """How to reach each of its servers: what one does not say itself holds for all."""
        if not self.servers:
            return (self,)
        return tuple(
            replace(
                self,
                server=each.name,
                base_url=each.base_url or self.base_url,
                api_key=each.api_key or self.api_key,
                max_in_flight=each.max_in_flight or self.max_in_flight,
                servers=(),
            )
            for each in self.servers
        )


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """The defaults for making pictures, or for editing them."""

    enabled: bool
    engine: str
    model: str
    #: `WIDTHxHEIGHT`, or `auto` for the model's own choice.
    size: str
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """The whole configuration at one moment."""

    generation: Purpose
    edit: Purpose
    #: Engines that make pictures, by name.
    engines: Mapping[str, EngineConfig]
    #: The same engines as they are reached for edits: empty values fall back to the above.
    edit_engines: Mapping[str, EngineConfig]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One configurable value."""

    #: Open WebUI's name for it.
    name: str
    #: Its place in `ImagesConfig`, dotted.
    path: str
    help: str
    kind: Kind = "text"
    default: Value = ""
    #: Encrypted at rest and masked in answers.
    secret: bool = False
    #: Other environment variables that give its default, tried in order.
    fallbacks: tuple[str, ...] = ()


def _field(name: str, path: str, help_: str, **rest: Any) -> Field:
    return Field(name=name, path=path, help=help_, **rest)


def _pool(prefix: str, engine: str, example: str) -> tuple[Field, Field]:
    """The fields of an engine that may be several servers."""
    return (
        _field(
            f"{prefix}_SERVERS",
            f"engines.{engine}.servers",
            "Several servers or keys in the place of one, as a JSON list of objects with `name`,"
            " `base_url`, `api_key` and `max_in_flight`, all optional; what one does not say is as"
            f" for the engine: `{example}`.",
            kind="servers",
            default=[],
            secret=True,
        ),
        _field(
            f"{prefix}_MAX_IN_FLIGHT",
            f"engines.{engine}.max_in_flight",
            "How many jobs each of its servers gets at once, from all workers together; empty for"
            " the driver's own limit, if it has one.",
            kind="number",
            default=None,
        ),
    )


FIELDS: tuple[Field, ...] = (
    _field(
        "ENABLE_IMAGE_GENERATION",
        "generation.enabled",
        "Whether pictures can be asked for at all.",
        kind="flag",
        default=True,
    ),
    _field(
        "IMAGE_GENERATION_ENGINE",
        "generation.engine",
        "The engine used when a request names none.",
        default="builtin",
    ),
    _field(
        "IMAGE_GENERATION_MODEL",
        "generation.model",
        "The model used when a request names none; empty for the engine's first.",
    ),
    _field(
        "IMAGE_SIZE",
        "generation.size",
        "The size used when a request names none: `WIDTHxHEIGHT` or `auto`.",
        default="auto",
    ),
    _field(
        "IMAGE_STEPS",
        "generation.steps",
        "The sampling steps used when a request names none; empty for the model's own.",
        kind="number",
        default=None,
    ),
    _field(
        "IMAGES_OPENAI_API_BASE_URL",
        "engines.openai.base_url",
        "Address of the OpenAI API or of a compatible server.",
        default="https://api.openai.com/v1",
        fallbacks=("OPENAI_API_BASE_URL",),
    ),
    _field(
        "IMAGES_OPENAI_API_KEY",
        "engines.openai.api_key",
        "Its key. The engine is enabled once there is one, or once the address is not OpenAI's.",
        secret=True,
        fallbacks=("OPENAI_API_KEY",),
    ),
    _field(
        "IMAGES_OPENAI_API_VERSION",
        "engines.openai.options.api_version",
        "`api-version` sent with every call (Azure OpenAI).",
    ),
    _field(
        "IMAGES_OPENAI_API_PARAMS",
        "engines.openai.options.params",
        "Extra fields for the body of every call, as a JSON object. `moderation` and `style` go"
        " with generations only, `input_fidelity` with edits only; `partial_images` is how many"
        " previews to ask for, 0 for none.",
        kind="object",
        default={},
    ),
    *_pool("IMAGES_OPENAI", "openai", '[{"api_key": "sk-one"}, {"api_key": "sk-two"}]'),
    _field(
        "AUTOMATIC1111_BASE_URL",
        "engines.automatic1111.base_url",
        "Address of an AUTOMATIC1111 or Forge server.",
    ),
    _field(
        "AUTOMATIC1111_API_AUTH",
        "engines.automatic1111.api_key",
        "Its `user:password`, when it has one.",
        secret=True,
    ),
    _field(
        "AUTOMATIC1111_PARAMS",
        "engines.automatic1111.options.params",
        "Extra fields for the body of every call, as a JSON object.",
        kind="object",
        default={},
    ),
    *_pool("AUTOMATIC1111", "automatic1111", '[{"base_url": "http://gpu-1:7860"}]'),
    _field("COMFYUI_BASE_URL", "engines.comfyui.base_url", "Address of a ComfyUI server."),
    _field(
        "COMFYUI_API_KEY",
        "engines.comfyui.api_key",
        "Bearer token for ComfyUI, when a proxy asks for one.",
        secret=True,
    ),
    _field(
        "COMFYUI_WORKFLOW",
        "engines.comfyui.options.workflow",
        "The text-to-image workflow, as JSON text in API format.",
    ),
    _field(
        "COMFYUI_WORKFLOW_NODES",
        "engines.comfyui.options.workflow_nodes",
        "Which nodes take prompt, size, seed and so on, as a JSON list.",
        kind="list",
        default=[],
    ),
    *_pool("COMFYUI", "comfyui", '[{"name": "big", "base_url": "http://gpu-1:8188"}]'),
    _field(
        "IMAGES_GEMINI_API_BASE_URL",
        "engines.gemini.base_url",
        "Address of the Gemini API.",
        default="https://generativelanguage.googleapis.com/v1beta",
        fallbacks=("GEMINI_API_BASE_URL",),
    ),
    _field(
        "IMAGES_GEMINI_API_KEY",
        "engines.gemini.api_key",
        "Its key.",
        secret=True,
        fallbacks=("GEMINI_API_KEY",),
    ),
    _field(
        "IMAGES_GEMINI_ENDPOINT_METHOD",
        "engines.gemini.options.endpoint_method",
        "`generateContent` or `predict`; empty to choose by model.",
    ),
    *_pool("IMAGES_GEMINI", "gemini", '[{"api_key": "one"}, {"api_key": "two"}]'),
    _field(
        "ENABLE_IMAGE_EDIT",
        "edit.enabled",
        "Whether pictures can be edited.",
        kind="flag",
        default=True,
    ),
    _field(
        "IMAGE_EDIT_ENGINE",
        "edit.engine",
        "The engine for edits; empty for the one that generates.",
    ),
    _field(
        "IMAGE_EDIT_MODEL",
        "edit.model",
        "The model for edits; empty for the engine's first that can edit.",
    ),
    _field(
        "IMAGE_EDIT_SIZE",
        "edit.size",
        "The size of edited pictures when a request names none.",
        default="auto",
    ),
    _field(
        "IMAGES_EDIT_OPENAI_API_BASE_URL",
        "edit_engines.openai.base_url",
        "Address for edits; empty for the same as for generation. So for all its siblings below.",
    ),
    _field(
        "IMAGES_EDIT_OPENAI_API_KEY", "edit_engines.openai.api_key", "Key for edits.", secret=True
    ),
    _field(
        "IMAGES_EDIT_OPENAI_API_VERSION",
        "edit_engines.openai.options.api_version",
        "`api-version` for edits.",
    ),
    _field("IMAGES_EDIT_GEMINI_API_BASE_URL", "edit_engines.gemini.base_url", "Address for edits."),
    _field(
        "IMAGES_EDIT_GEMINI_API_KEY", "edit_engines.gemini.api_key", "Key for edits.", secret=True
    ),
    _field("IMAGES_EDIT_COMFYUI_BASE_URL", "edit_engines.comfyui.base_url", "Address for edits."),
    _field(
        "IMAGES_EDIT_COMFYUI_API_KEY",
        "edit_engines.comfyui.api_key",
        "Token for edits.",
        secret=True,
    ),
    _field(
        "IMAGES_EDIT_COMFYUI_WORKFLOW",
        "edit_engines.comfyui.options.workflow",
        "The image-to-image workflow, as JSON text in API format.",
    ),
    _field(
        "IMAGES_EDIT_COMFYUI_WORKFLOW_NODES",
        "edit_engines.comfyui.options.workflow_nodes",
        "Which nodes of it take image, mask, prompt and so on, as a JSON list.",
        kind="list",
        default=[],
    ),
)

FIELDS_BY_NAME: Mapping[str, Field] = MappingProxyType({each.name: each for each in FIELDS})


def assemble(
    values: Mapping[str, Value], built_in: EngineConfig, *, others: tuple[str, ...] = ()
) -> ImagesConfig:
    """Build the model from flat values by name; what is missing takes the field's default.

    `built_in` is the engine that has no flat fields of its own. `others` names engines that
    drivers from elsewhere bring and that no field describes.
    """
    tree: dict[str, Any] = {}
    for each in FIELDS:
        *parents, leaf = each.path.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        value = values.get(each.name, each.default)
        branch[leaf] = read_servers(value) if each.kind == "servers" else value

    engines = {
        **{name: EngineConfig(name=name) for name in others},
        **{name: EngineConfig(name=name, **parts) for name, parts in tree["engines"].items()},
        built_in.name: built_in,
    }
    return ImagesConfig(
        generation=Purpose(**tree["generation"]),
        edit=Purpose(**tree["edit"]),
        engines=engines,
        edit_engines={
            name: _for_edits(engine, tree["edit_engines"].get(name, {}))
            for name, engine in engines.items()
        },
    )


def named(config: EngineConfig, sentence: str) -> str:
    """A sentence of an engine, with the server it is about where there are several."""
    return sentence if config.server is None else f"Server {config.server!r}: {sentence}"


def _for_edits(engine: EngineConfig, parts: Mapping[str, Any]) -> EngineConfig:
    own_options = {key: value for key, value in parts.get("options", {}).items() if value}
    inherited = dict(engine.options)
    if "workflow" in own_options:
        # It names nodes of the workflow it came with; another's are called otherwise.
        inherited.pop("workflow_nodes", None)
    base_url, api_key = parts.get("base_url"), parts.get("api_key")
    return replace(
        engine,
        base_url=base_url or engine.base_url,
        api_key=api_key or engine.api_key,
        options={**inherited, **own_options},
        # An address or a key for edits is that of one server.
        servers=() if base_url or api_key else engine.servers,
    )
