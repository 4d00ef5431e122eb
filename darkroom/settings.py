"""Every setting of a Darkroom process; the only reader of the environment.

Each variable is `DARKROOM_` and the field's name in upper case. Any of them can be given as
`DARKROOM_…_FILE`, the path of a file that holds the value, which is how secrets are handed over.
The defaults of the engines (`darkroom.configuration.FIELDS`) also answer to the names Open WebUI
uses, without the prefix.
"""

import math
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import unquote, urlsplit

from environs import EnvError, FileAwareEnv

from darkroom import configuration
from darkroom.domain import Size
from darkroom.errors import SettingsError
from darkroom.pools import read_servers

PREFIX = "DARKROOM_"

#: What the queues can live in.
BROKER_SCHEMES = ("redis", "rediss", "unix", "amqp", "amqps")

#: Where runtimes of containers mount secrets, readable by all in the container.
MOUNTED_SECRETS = "/run/secrets/"


def _variable(
    default: Any,
    help_: str,
    *,
    choices: tuple[str, ...] = (),
    least: float = 0,
    most: float = math.inf,
) -> Any:
    """A field read from the environment, described once."""
    return field(
        default=default,
        metadata={"help": help_, "choices": choices, "least": least, "most": most},
    )


def _secret(help_: str) -> Any:
    return field(
        default=None,
        repr=False,
        metadata={"help": help_, "choices": (), "least": 0, "most": math.inf},
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one process runs. Handed in as an argument, never read from a global."""

    host: str = _variable("127.0.0.1", "Address the API listens on.")
    port: int = _variable(8787, "Port the API listens on; 0 takes any free one.", most=65_535)
    data_dir: Path = _variable(Path("data"), "Folder for everything the embedded stack keeps.")
    database_url: str | None = _variable(
        None, "SQLAlchemy URL of the database. Default: SQLite in the data folder."
    )
    redis_url: str | None = _variable(
        None,
        "URL of the Redis that wakes calls, counts and holds the queues. Default: `darkroom up`"
        " runs its own in the data folder.",
    )
    broker_url: str | None = _secret(
        "URL of another server for the queues: `amqp://` or `amqps://` for RabbitMQ, or that of a"
        " second Redis. Default: the one of DARKROOM_REDIS_URL, which is needed in any case."
    )
    storage_url: str | None = _variable(
        None,
        "Where picture files are kept: `file:///folder`, or `s3://`, `gs://`, `az://` and a"
        " bucket. Default: a folder in the data folder.",
    )
    secret_key: str | None = _secret(
        "Signs tokens and encrypts engine keys; at least 32 characters. Default: generated into"
        " the data folder. Must be given when several machines share a database."
    )
    secret_key_previous: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata={
            "help": "Secrets of before, separated by commas: tokens, links and engine keys of"
            " theirs go on working. `darkroom rotate-key` makes them needless.",
            "choices": (),
            "least": 0,
            "most": math.inf,
        },
    )
    admin_email: str | None = _variable(
        None, "E-mail of the first admin. Default: `admin@localhost`, with an API key only."
    )
    admin_password: str | None = _secret("Password of the first admin; needs the e-mail too.")
    enable_signup: bool = _variable(False, "Whether anyone may create an account.")
    default_permissions: tuple[str, ...] = _variable(
        ("features.image_generation",), "Permissions a new account gets, separated by commas."
    )
    token_ttl_s: int = _variable(7 * 24 * 3600, "How long a sign-in lasts, in seconds.", least=60)
    cors_origins: tuple[str, ...] = _variable(
        (),
        "Origins whose pages may call the API from a browser, such as `https://app.example.org`,"
        " separated by commas; `*` for all. Default: none.",
    )
    hsts_s: int = _variable(
        0,
        "How long browsers are told to use TLS only (HSTS), in seconds; 0 does not tell them. It"
        " holds for every port of the host.",
    )
    wait_s: float = _variable(
        300.0, "Longest a call waits for its pictures before it answers 202, in seconds."
    )
    max_body_mb: int = _variable(64, "Largest request body, in MiB.", least=1)
    max_batch_mb: int = _variable(
        200, "Largest body or file with the lines of a batch, in MiB.", least=1
    )
    max_uploads_mb_per_user: int = _variable(
        5000, "Most that the files one user uploaded may hold together, in MiB.", least=1
    )
    fetch_private_hosts: bool = _variable(
        False,
        "Whether pictures to edit may be fetched from private addresses, such as `localhost`."
        " Anyone with an account can then look into the network of this server.",
    )
    max_count: int = _variable(10, "Most pictures one request may ask for.", least=1)
    lease_s: float = _variable(
        30.0, "How long a worker owns a job without a sign of life, in seconds.", least=0.5
    )
    max_attempts: int = _variable(3, "How often a job is tried when workers die under it.", least=1)
    job_timeout_s: float = _variable(
        900.0, "Longest one attempt at a job may take, in seconds.", least=1
    )
    retry_for_s: float = _variable(
        3600.0,
        "How long after its first try a job is tried again for an engine that is busy or out of"
        " reach, in seconds.",
    )
    repeat_paid_calls: bool = _variable(
        False, "Whether a paid call that may have happened is made again, and perhaps paid twice."
    )
    fallback_models: Mapping[str, str] | None = _variable(
        None,
        "JSON object from a model to the one that takes its place while its engine is out of reach,"
        ' misconfigured or without quota: `{"openai/gpt-image-2": "builtin/placeholder"}`.',
    )
    max_queued_per_user: int = _variable(
        50_000,
        "Most jobs one user may have queued, and as many items of batches; beyond that a call is"
        " answered 429.",
        least=1,
    )
    max_running_per_user: int | None = _variable(
        None, "Most jobs of one user that run at once. Default: no limit.", least=1
    )
    requests_per_minute: int | None = _variable(
        None,
        "Most calls for pictures from one user in a minute; beyond that a call is answered 429."
        " Default: no limit.",
        least=1,
    )
    requests_per_minute_per_key: int | None = _variable(
        None,
        "Most calls for pictures with one API key in a minute. Default: no limit.",
        least=1,
    )
    sign_ins_per_account: int = _variable(
        10, "Attempts at the password of one account in 5 minutes; a success clears them.", least=1
    )
    sign_ins_per_address: int = _variable(
        100, "Failed attempts at passwords in 5 minutes from one address.", least=1
    )
    trusted_proxies: int = _variable(
        0,
        "Number of proxies in front of the API that each add to `X-Forwarded-For`; it is not"
        " believed without.",
        most=100,
    )
    keep_images_days: float | None = _variable(
        None, "Age at which pictures are deleted, in days. Default: never."
    )
    keep_images_mb_per_user: int | None = _variable(
        None, "How much of a user's newest pictures is kept, in MiB. Default: all."
    )
    keep_audit_days: float = _variable(
        365.0, "Age at which entries of the audit log are removed, in days.", least=1
    )
    worker_concurrency: int = _variable(16, "Jobs one worker process runs at once.", least=1)
    worker_engines: tuple[str, ...] = _variable(
        (), "Engines whose jobs a worker takes, separated by commas. Default: all."
    )
    api_processes: int = _variable(1, "API processes that `darkroom serve` runs.", least=1)
    api_threads: int = _variable(
        512,
        "Threads of one API process. At most seven eighths of them hold waiting calls; beyond that"
        " a call is answered 202 at once.",
        least=16,
    )
    stop_s: float = _variable(
        20.0, "How long running calls and jobs may go on after a stop signal, in seconds.", least=1
    )
    drain_s: float = _variable(
        0.0,
        "How long the API goes on taking calls after a stop signal while `/ready` answers 503, in"
        " seconds; for load balancers that look there.",
    )
    accel_location: str | None = _variable(
        None,
        "Internal location of nginx for the folder of DARKROOM_STORAGE_URL, such as `/_files/`:"
        " nginx then sends pictures itself. Default: Darkroom sends them.",
    )
    model_catalog: Path | None = _variable(
        None, "JSON file that adds models to the catalog, or corrects what it says of them."
    )
    images_per_day: int | None = _variable(
        None, "Most images one user may have drawn in a day of UTC. Default: no limit."
    )
    images_per_month: int | None = _variable(
        None, "Most images one user may have drawn in a month of UTC. Default: no limit."
    )
    budget_per_day: Decimal | None = _variable(
        None, "Most that the images of one user may cost in a day of UTC. Default: no limit."
    )
    budget_per_month: Decimal | None = _variable(
        None, "Most that the images of one user may cost in a month of UTC. Default: no limit."
    )
    currency: str = _variable(
        "USD",
        "Currency of prices and budgets. Vendors' own prices are known in USD; with another one"
        " give prices in the model catalog.",
    )
    unknown_prices: Literal["refuse", "allow"] = _variable(
        "refuse",
        "What becomes of a request by a user with a budget for a model whose price nobody knows.",
        choices=("refuse", "allow"),
    )
    enable_builtin: bool = _variable(True, "Whether the built-in placeholder engine is offered.")
    builtin_latency_s: float = _variable(
        0.0, "Seconds the built-in engine takes for a picture, to try out load."
    )
    builtin_ledger: Path | None = _variable(
        None,
        "Folder in which the built-in engine keeps account of its calls, and finds runs again whose"
        " worker died; for tests.",
    )
    builtin_script: bool = _variable(
        False, "Whether prompts may script the built-in engine's latency and faults; for tests."
    )
    log_format: Literal["text", "json"] = _variable(
        "text", "How log lines look.", choices=("text", "json")
    )
    log_level: Literal["debug", "info", "warning", "error"] = _variable(
        "info", "The least severe log lines shown.", choices=("debug", "info", "warning", "error")
    )
    metrics_token: str | None = _secret(
        "What Prometheus reads `/metrics` with, besides admins with their keys; at least 16"
        " characters."
    )
    metrics_port: int | None = _variable(
        None,
        "Port on which a worker shows its metrics. Default: none; the API shows those of its data"
        " folder.",
        least=1,
        most=65_535,
    )
    metrics_host: str = _variable("127.0.0.1", "Address of that port.")
    otlp_endpoint: str | None = _variable(
        None,
        "URL of an OpenTelemetry collector, such as `http://localhost:4318`, to send traces to."
        " Default: `OTEL_EXPORTER_OTLP_ENDPOINT`.",
    )
    sentry_dsn: str | None = _secret("DSN of a Sentry project that unexpected exceptions go to.")
    task_events: bool = _variable(
        False, "Whether Celery tells of its tasks and workers, for Flower."
    )

    #: The engines' defaults by flat name: what the environment says of `configuration.FIELDS`.
    config_defaults: Mapping[str, configuration.Value] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for each in self.cors_origins:
            _refuse_no_origin(each)
        if self.broker_url is not None:
            _refuse_no_broker(self.broker_url)
        if self.secret_key is not None and len(self.secret_key) < 32:
            raise SettingsError(
                f"{PREFIX}SECRET_KEY must have at least 32 characters:"
                " make one with `openssl rand -hex 32`."
            )
        if any(len(each) < 32 for each in self.secret_key_previous):
            raise SettingsError(
                f"{PREFIX}SECRET_KEY_PREVIOUS holds a secret of less than 32 characters, which none"
                " ever was: set the old ones as they were, separated by commas."
            )
        if self.metrics_token is not None and len(self.metrics_token) < 16:
            raise SettingsError(
                f"{PREFIX}METRICS_TOKEN must have at least 16 characters:"
                " make one with `openssl rand -hex 32`."
            )
        if self.admin_password is not None and self.admin_email is None:
            raise SettingsError(
                f"{PREFIX}ADMIN_PASSWORD needs {PREFIX}ADMIN_EMAIL: set both, or neither."
            )

        if self.accel_location is not None:
            if not re.fullmatch(r"/([\w-]+/)+", self.accel_location):
                raise SettingsError(
                    f"{PREFIX}ACCEL_LOCATION is {self.accel_location!r}; it must begin and end with"
                    " a slash, such as /_files/."
                )
            if self.storage_folder is None:
                raise SettingsError(
                    f"{PREFIX}ACCEL_LOCATION needs a folder that nginx can read: set"
                    f" {PREFIX}STORAGE_URL=file:///…, or leave {PREFIX}ACCEL_LOCATION out."
                )

    @property
    def database(self) -> str:
        """The database's URL, given or default."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'darkroom.db'}"

    @property
    def storage(self) -> str:
        """The file store's URL, given or default."""
        return self.storage_url or (self.data_dir.absolute() / "files").as_uri()

    @property
    def storage_folder(self) -> Path | None:
        """The folder of the file store; None for an object store."""
        parts = urlsplit(self.storage)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    @property
    def is_shared(self) -> bool:
        """Whether other machines may use the same database."""
        return not self.database.startswith("sqlite")

    @property
    def waiting_places(self) -> int:
        """How many calls of one API process may wait at once: threads are left for all others."""
        left_free = max(self.api_threads // 8, min(32, self.api_threads // 2))
        return self.api_threads - left_free

    @property
    def max_body_bytes(self) -> int:
        return self.max_body_mb * 1024 * 1024

    @property
    def max_batch_bytes(self) -> int:
        return self.max_batch_mb * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """How a program on this machine reaches a Darkroom, here or elsewhere."""

    server: str | None = _variable(
        None,
        "URL of the Darkroom that the client library and commands such as `darkroom generate` use."
        " Default: the one of `darkroom login`, or `darkroom up` in the data folder.",
    )
    key: str | None = _secret("API key they sign in with.")

    #: Where a `darkroom up` of this machine keeps its things; described in `Settings`.
    data_dir: Path = Path("data")


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """What the terminal says of itself; empty for what it does not say."""

    term: str = ""
    term_program: str = ""
    lc_terminal: str = ""
    kitty_window_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One environment variable, for documentation."""

    name: str
    default: str
    help: str

    @property
    def shown_default(self) -> str:
        return f"`{self.default}`" if self.default else ""


def variables() -> list[Variable]:
    """Every variable Darkroom reads, in the order of the README's table."""
    own = [
        Variable(name=_name_of(each), default=_shown(each.default), help=each.metadata["help"])
        for each in (*_read_fields(Settings), *_read_fields(ClientSettings))
    ]
    engines = [
        Variable(name=each.name, default=_shown(each.default), help=each.help)
        for each in configuration.FIELDS
    ]
    return own + engines


def settings_table() -> str:
    """Every variable as a Markdown table."""
    rows = [f"| `{each.name}` | {each.shown_default} | {each.help} |" for each in variables()]
    return "\n".join(["| Variable | Default | Meaning |", "|---|---|---|", *rows])


def load_settings(**overrides: Any) -> Settings:
    """Read the environment; `overrides` win over it.

    Raises SettingsError that names the variable, the value's fault and what is accepted.
    """
    env = FileAwareEnv(strip_whitespace=True)
    read = _read_all(env, (each for each in _read_fields(Settings) if each.name not in overrides))
    if collector := env.str("OTEL_EXPORTER_OTLP_ENDPOINT", ""):
        read.setdefault("otlp_endpoint", collector)
    defaults = {
        each.name: value
        for each in configuration.FIELDS
        if (value := _read_default(env, each)) is not MISSING
    }
    return Settings(**read, config_defaults=defaults, **overrides)


def load_client_settings() -> ClientSettings:
    """Read what a client needs; the rest of the environment may be wrong. Raises SettingsError."""
    data_dir = (each for each in _read_fields(Settings) if each.name == "data_dir")
    wanted = (*_read_fields(ClientSettings), *data_dir)
    return ClientSettings(**_read_all(FileAwareEnv(strip_whitespace=True), wanted))


def exposed_files() -> list[tuple[str, Path]]:
    """The `…_FILE` variables whose files others on this machine may read or change.

    What a container's runtime mounts is left out: it decides who may, and only the container sees
    it.
    """
    names = [_name_of(each) for each in (*_read_fields(Settings), *_read_fields(ClientSettings))]
    for each in configuration.FIELDS:
        names += [PREFIX + each.name, each.name, *each.fallbacks]
    given = {f"{name}_FILE": os.environ.get(f"{name}_FILE", "").strip() for name in names}
    return [
        (name, Path(text))
        for name, text in given.items()
        if text and not text.startswith(MOUNTED_SECRETS) and _is_exposed(Path(text))
    ]


def _is_exposed(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & (stat.S_IRWXO | stat.S_IWGRP))


def read_terminal() -> Terminal:
    """What kind of terminal this process says it has."""
    return Terminal(
        **{each.name: os.environ.get(each.name.upper(), "") for each in fields(Terminal)}
    )


def name_metrics_folder(folder: Path) -> None:
    """Tell prometheus-client, which asks the environment, where this process counts."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def _read_fields(kind: type[Settings] | type[ClientSettings]) -> list[Field[Any]]:
    return [each for each in fields(kind) if "help" in each.metadata]


def _read_all(env: FileAwareEnv, wanted: Iterable[Field[Any]]) -> dict[str, Any]:
    """The values of all that are set."""
    found = {each.name: _read(env, each) for each in wanted}
    return {name: value for name, value in found.items() if value is not MISSING}


def _name_of(setting: Field[Any]) -> str:
    return PREFIX + setting.name.upper()


def _shown(default: Any) -> str:
    match default:
        case None | "" | {} | []:
            return ""
        case bool():
            return str(default).lower()
        case float() if default.is_integer():
            return str(int(default))
        case tuple():
            return ",".join(default)
        case _:
            return str(default)


def _read(env: FileAwareEnv, setting: Field[Any]) -> Any:
    name, default = _name_of(setting), setting.default
    kind = str(setting.type) if not isinstance(setting.type, type) else setting.type.__name__
    try:
        if env.str(name, "").strip() == "":
            return MISSING
        value: Any
        if isinstance(default, bool):
            value = env.bool(name)
        elif isinstance(default, int):
            value = env.int(name)
        elif isinstance(default, float):
            value = env.float(name)
        elif isinstance(default, tuple):
            value = tuple(each.strip() for each in cast(list[str], env.list(name)))
        elif "Mapping" in kind:
            value = _words(env.json(name))
        elif "int" in kind:
            value = env.int(name)
        elif "float" in kind:
            value = env.float(name)
        elif "Decimal" in kind:
            value = env.decimal(name)
        elif "Path" in kind:
            value = env.path(name)
        else:
            value = env.str(name)
    except (EnvError, ValueError) as error:
        raise SettingsError(f"{name} cannot be used: {error}") from error
    choices = setting.metadata["choices"]
    if choices and value not in choices:
        raise SettingsError(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
    if isinstance(value, Decimal) and not value.is_finite():
        raise SettingsError(f"{name} is {value}; it must be an amount of money.")
    if isinstance(value, int | float | Decimal) and value < setting.metadata["least"]:
        raise SettingsError(f"{name} is {value}; it must be at least {setting.metadata['least']}.")
    if isinstance(value, int | float) and value > setting.metadata["most"]:
        raise SettingsError(f"{name} is {value}; it must be at most {setting.metadata['most']}.")
    return value


def _refuse_no_origin(text: str) -> None:
    """Raises SettingsError for what no browser sends as the origin of a page."""
    try:
        parts = urlsplit(text)
        is_origin = (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and text == f"{parts.scheme}://{parts.netloc}".lower()
            and "@" not in parts.netloc
            and "*" not in text
            and parts.port != {"http": 80, "https": 443}[parts.scheme]
        )
    except ValueError:
        is_origin = False
    if text != "*" and not is_origin:
        raise SettingsError(
            f"{PREFIX}CORS_ORIGINS holds {text!r}: give origins as browsers send them, such as"
            " https://app.example.org or http://localhost:3000, in lower case, without a path or a"
            " usual port; or `*`."
        )


def _refuse_no_broker(url: str) -> None:
    """Raises SettingsError for a URL of no kind that holds queues; never shows it, because it holds
    a password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in BROKER_SCHEMES:
        raise SettingsError(
            f"{PREFIX}BROKER_URL must begin with one of"
            f" {', '.join(f'{each}://' for each in BROKER_SCHEMES)}."
        )
    if ";" in rest:
        raise SettingsError(
            f"{PREFIX}BROKER_URL names several servers: give one address, of a load balancer where"
            " there are several."
        )
    if "ssl_cert_reqs=" in rest and not re.search(r"[?&]ssl_cert_reqs=(required|none)(&|$)", rest):
        raise SettingsError(
            f"{PREFIX}BROKER_URL has an `ssl_cert_reqs` other than `required` or `none`."
        )


def _positive(value: int) -> int:
    if value < 1:
        raise ValueError("it must be at least 1")
    return value


def _of_type(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        # A wrong value of a variable, like any other.
        raise ValueError(f"it must be a JSON {'object' if kind is dict else 'list'}")  # noqa: TRY004
    return value


def _words(value: Any) -> dict[str, str]:
    """A JSON object from words to words. Raises ValueError for anything else."""
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError("it must be a JSON object whose values are strings")
    return value


def _read_default(env: FileAwareEnv, entry: configuration.Field) -> Any:
    for name in (PREFIX + entry.name, entry.name, *entry.fallbacks):
        try:
            if env.str(name, "").strip() == "":
                continue
            match entry.kind:
                case "flag":
                    return env.bool(name)
                case "number":
                    return _positive(env.int(name))
                case "object":
                    return _of_type(dict, env.json(name))
                case "list":
                    return _of_type(list, env.json(name))
                case "servers":
                    servers = _of_type(list, env.json(name))
                    read_servers(servers)
                    return servers
                case "text":
                    value = env.str(name)
                    if entry.name.endswith("_SIZE") and value != "auto":
                        Size.parse(value)
                    return value
        except (EnvError, ValueError) as error:
            raise SettingsError(f"{name} cannot be used: {error}") from error
    return MISSING
