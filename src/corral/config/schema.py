"""
Every key that `corral.yaml` may have: its type, default, unit and consequence.

The text under a key is its documentation: `config explain`, the JSON Schema and docs/reference/config.md show it. A key
stands here only if something in Corral obeys it. Unset and `null` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from corral.config.fields import (
    Budget,
    ByDevice,
    Count,
    Duration,
    Finite,
    Port,
    Size,
    Switch,
    Texts,
    Timeout,
    texts,
)
from corral.config.named import (
    Args,
    ByTask,
    Capability,
    Endpoint,
    Env,
    FilePath,
    Host,
    LoadingState,
    Macros,
    ModelName,
    Names,
    Options,
    Origin,
    Token,
)
from corral.domain.fleet import ArgValue
from corral.domain.references import (
    BadReference,
    FileReference,
    HubReference,
    OllamaReference,
    WebReference,
    is_reference,
    narrowed,
    parse,
)
from corral.domain.units import FOREVER


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}
        return {} if data is None else data


class Key(Section):
    """An API key. Give `key` (the key itself, best as `${env.NAME}`) or `sha256` (its hash), not both."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
    """Who holds it: the name in logs and metrics, and the caller in fair queueing."""
    key: str = Field(default="", repr=False)
    """The key itself, at least 16 printable ASCII characters without spaces. Only its SHA-256 is kept in memory."""
    sha256: str = Field(default="", repr=False)
    """The key's SHA-256 in 64 hex digits, so that the file holds no secret."""
    scopes: tuple[Literal["inference", "admin"], ...] = Field(default=("inference",), min_length=1)
    """What the key may do. `inference` calls Models; `admin` also loads, unloads and reads logs."""
    priority: Count = Field(default=0, ge=-100, le=100)
    """Against other keys: a level is a head start of 30 s of slot time at a busy Model, of one load between Models."""
    max_concurrent: Count = Field(default=0, ge=0)
    """Its requests that run or stand in line at one time, over all Models; more wait behind its own. 0: no bound."""
    max_waiting: Count = Field(default=0, ge=0)
    """Its requests that may wait, over all Models; more are answered 503. 0: no bound but those of `limits`."""


class Server(Section):
    """The address that clients call, and who may call it."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. Beyond loopback Corral wants `keys`, or `open: true`."""
    port: Port = 11435
    """TCP port to listen on. 0: the system chooses a free one."""
    ollama_port: Port | None = None
    """A second port of the same server, for clients of Ollama that know only its port: 11434. Unset: none."""
    open: Switch = False
    """Listen beyond loopback without keys, on purpose: whoever reaches the port may use every Model."""
    keys: tuple[Key, ...] = ()
    """API keys. With at least one, every request needs one; without, requests from this machine need none."""
    allowed_hosts: Texts = ()
    """Host names that clients may use besides loopback names and `host` (a defence against DNS rebinding). `*`: any."""
    cors_origins: Texts = ()
    """Origins of web pages that may call from a browser, such as `https://chat.example.org`, or `*`. Default: none."""
    trusted_proxies: Texts = ()
    """Addresses of reverse proxies whose `X-Forwarded-For` is believed: it tells callers without keys apart."""
    body_limit: Size = 64 * 1024**2
    """Bytes that one request body may have; more is answered 413."""
    body_total: Size = 512 * 1024**2
    """Bytes of all request bodies held at one time; more is answered 503."""
    header_limit: Size = 32 * 1024
    """Bytes that the head of a request may have; more is answered 431."""
    header_timeout: Timeout = 15.0
    """Time from the first byte of a request to the end of its head; then the connection is closed."""
    body_timeout: Timeout = 60.0
    """Silence while a request body is read; then the connection is closed."""
    keepalive: Timeout = 75.0
    """An idle client connection is closed after this time."""
    max_connections: Count = Field(default=10_000, ge=1)
    """Client connections at one time; further ones are closed at once."""
    default_model: ByTask = {}
    """Who answers requests that name no Model: a name, for chat; or by task, `{chat: a, embeddings: b}`."""
    unknown_model: Literal["refuse", "default"] = "refuse"
    """A name that no Model has: `refuse` it with 404, or have the `default` answer, as a lone llama-server does."""
    root: Literal["corral", "engine"] = "corral"
    """What `/` is: Corral, or (`engine`) the web page of the Model for chats that name none, loaded for it."""
    drain: Finite = 30.0
    """At shutdown: how long running answers may take to end."""


class Log(Section):
    """What Corral says of itself. The engines' output is another thing: `corral logs MODEL`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written."""
    format: Literal["text", "json"] = "text"
    """`text` for people, `json` for programs: one object a line."""
    file: FilePath = ""
    """Write here instead of to standard error."""


class Memory(Section):
    """How much memory all engines together may take."""

    ram: Budget = "auto"
    """RAM for engines: `auto` (what there is, less `reserve` and what other programs use), a size, or `unlimited`."""
    vram: ByDevice[Budget] = "auto"
    """The same for each GPU's memory; or by GPU: `{CUDA0: 20GiB, vram: auto}`, where `vram` is every other one."""
    reserve: ByDevice[Size] = {"ram": 1024**3, "vram": 256 * 1024**2}
    """What `auto` leaves free: a size for RAM, or by device: `{ram: 2GiB, vram: 512MiB, CUDA1: 2GiB}`."""


class Store(Section):
    """Where model files are kept, and how they are fetched."""

    path: FilePath = ""
    """The folder of the store. Default: `$XDG_DATA_HOME/corral/models`."""
    endpoint: Endpoint = ""
    """A mirror of Hugging Face's hub. Default: `$HF_ENDPOINT`, else `https://huggingface.co`. It counts as trusted."""
    tokens: dict[Host, Token] = Field(default={}, repr=False)
    """Tokens by host, sent to that host alone. The hub's may be in `HF_TOKEN`, or where its own client keeps it."""
    trusted: Annotated[tuple[Origin, ...], BeforeValidator(texts)] = ()
    """Origins such as `http://10.0.0.5:8000` that may be plain http and have private addresses."""
    connections: Count = Field(default=4, ge=1, le=16)
    """Connections at one time for one file."""
    auto_download: Switch = True
    """A Model whose files are not there is fetched when it is needed first. `false`: only by `corral models pull`."""
    offline: Switch = False
    """Nothing is fetched and no hub is asked; so also with `HF_HUB_OFFLINE=1`."""
    serve: Switch = False
    """Every whole model in the store that no Model uses is served by its name there, with the defaults."""
    api_pull: Switch = True
    """Clients with the scope `admin` may have models fetched by Ollama's `/api/pull`; see docs/models/store.md."""


class LimitsSection(Section):
    """Bounds on waiting. A request beyond a queue bound is answered 503 at once, with `Retry-After`."""

    queue_per_model: Count = Field(default=100, ge=1)
    """Requests that may wait for one Model; a Model's `queue_limit` goes before. One caller alone gets four fifths."""
    queue_total: Count = Field(default=1000, ge=1)
    """Requests that may wait in all. One caller alone gets four fifths."""
    max_wait: Finite = 10.0
    """A busy Model gets no new requests once another has waited this long for its memory or its place."""
    min_loaded: Finite = 5.0
    """A Model that was just loaded stays for as long as its load took, at most this long, even if nobody uses it."""
    backoff_first: Timeout = 1.0
    """Time before a Model that failed to start is started again; it doubles with every failure."""
    backoff_max: Timeout = 60.0
    """The longest such time."""


class TimeoutsSection(Section):
    """How long each step of a request may take. A Model's own go before `defaults.timeouts`, key by key."""

    queue: Timeout = 600.0
    """From the arrival of a request until an engine takes it, the load included; then 503."""
    load: Timeout = 600.0
    """From the start of an engine until it answers; then the start has failed."""
    first_token: Timeout = 600.0
    """From the moment the engine takes the request to the first byte of the answer; then 504."""
    idle: Timeout = 120.0
    """Silence between two pieces of an answer."""
    total: Timeout = 3600.0
    """The whole answer, from the moment the engine takes the request."""
    heartbeat: Timeout = 10.0
    """Silence after which a client that wants a stream gets a sign of life; before the first, errors have a status."""
    stop: Finite = 2.0
    """For an engine to end once it serves nobody; then it is killed."""


class KeepAliveSection(Section):
    """
    What requests may ask for in the place of `ttl` (Ollama's `keep_alive`). What they ask for beyond is cut to this.

    The time of the last request that names one holds until the Model is unloaded. It keeps nothing in memory that has
    to make room, and it does not unload what is pinned.
    """

    min: Duration = 0.0
    """The least: with 0 a request may have the Model unloaded as soon as nobody uses it."""
    max: Duration = FOREVER
    """The most. The same as `min`: requests have no say."""


class Defaults(Section):
    """What Models have unless they say otherwise."""

    engine: str = "llamacpp"
    """The engine of Models that name none."""
    ttl: Duration = 600.0
    """Idle time after which a Model is unloaded: a duration, `never`, or 0 for at once."""
    keep_alive: KeepAliveSection = KeepAliveSection()
    """What requests may ask for in the place of `ttl`."""
    load_options: dict[str, dict[str, Switch | Count]] = {}
    """What requests may choose of the options of an engine's Models, by engine; see `models.NAME.load_options`."""
    timeouts: TimeoutsSection = TimeoutsSection()
    """How long each step of a request may take."""
    loading_state: LoadingState = "comment"
    """How streams tell of a load or queue: `comment` (shown by no client), `reasoning` (as thoughts) or `off`."""
    listed_aliases: Switch = False
    """/v1/models has an entry for each alias and profile too, for clients that offer only what is listed."""
    options: dict[str, Options] = {}
    """Options for all Models of an engine, by engine: `options: {llamacpp: {ctx_size: 8192}}`."""
    binary: dict[str, FilePath] = {}
    """The program for all Models of an engine, by engine: `binary: {llamacpp: /opt/llama.cpp/llama-server}`."""
    args: dict[str, Args] = {}
    """Further flags for all Models of an engine, by engine: `args: {llamacpp: {log_disable: true}}`."""
    env: dict[str, Env] = {}
    """Environment variables by engine: `env: {llamacpp: {HIP_VISIBLE_DEVICES: "0"}}`."""


class FitSection(Section):
    """How far a Model that can never fit may be made smaller: by halves of the context first, then by layers."""

    min_ctx_size: Count | None = Field(default=None, ge=256)
    """The least context, over all slots, that is still of use; unset: the context stays."""
    min_gpu_layers: Count | None = Field(default=None, ge=0)
    """The least layers on the GPU, where `n_gpu_layers` is a number; unset: the layers stay."""

    @model_validator(mode="before")
    @classmethod
    def _words(cls, data: Any) -> Any:
        if data == "shrink":
            raise ValueError("must say how far: write for example {min_ctx_size: 8192}")
        return {} if data == "refuse" else data


class RequestSection(Section):
    """What is done to the top-level fields of JSON requests before the engine gets them: defaults, then strip, set."""

    defaults: dict[str, Any] = {}
    """Values for fields that a request does not have, or has as null: `{temperature: 0.2}`."""
    strip: Texts = ()
    """Fields that are taken out. `model`, `messages`, `stream`, `prompt` and `input` cannot be, nor be given values."""
    set: dict[str, Any] = {}
    """Values that take the place of what a request has."""


class Profile(RequestSection):
    """Parameters of requests under names of their own: one loaded instance, asked for as MODEL:PROFILE."""

    aliases: Names = ()
    """Other names for it."""


class SourceSection(Section):
    """Where the weights come from: the text of `path` or `ref` alone, or a mapping of these."""

    ref: str = ""
    """A reference: `hf.co/ORG/REPO:QUANT`, `ollama:NAME:TAG` or `https://HOST/FILE.gguf`. Fetched when it is needed."""
    path: FilePath = ""
    """The .gguf file, or part 1 of a split one; counted from the config file's folder. With `ref`: where it is put."""
    url: str = ""
    """The same as `ref`, for an address."""
    quant: str = ""
    """The quantisation to take from the hub's repository. Default: that of `ref`, else Q4_K_M or the nearest."""
    file: str = ""
    """The file to take from the hub's repository; of a split model any part means all of it."""
    sha256: str = ""
    """The SHA-256 that the file must have, in 64 hexadecimal digits."""
    mmproj: FilePath = "auto"
    """The projector for pictures and sound: `auto` (fetched and used where there is one), `none`, or a file's path."""
    auto_download: Switch = True
    """`false`: it is not fetched when it is needed, only by `corral models pull`."""

    @model_validator(mode="before")
    @classmethod
    def _text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            if data is not None and not isinstance(data, Mapping):
                raise ValueError("must be a path, a reference such as hf.co/ORG/REPO:Q4_K_M, or a mapping")
            return data
        return {"ref": data} if is_reference(data) else {"path": data.removeprefix("path:")}

    @model_validator(mode="after")
    def _one_place(self) -> SourceSection:
        if self.ref and self.url:
            raise ValueError("has `ref` and `url`: keep one of them")
        given = self.ref or self.url
        if not given:
            for name in ("quant", "file", "sha256", "auto_download"):
                if name in self.model_fields_set:
                    raise ValueError(f"has `{name}`, which means something only with `ref` or `url`")
            return self
        try:
            reference = parse(given)
            reference = narrowed(reference, quant=self.quant, file=self.file)
        except BadReference as error:
            raise ValueError(str(error).rstrip(".")) from None
        if self.url and not isinstance(reference, WebReference | HubReference | OllamaReference):
            raise ValueError(f"{self.url!r} is no address: write https://HOST/FILE.gguf")
        if isinstance(reference, FileReference) and self.path:
            raise ValueError("has `path` and a `ref` that is a file of this machine: keep one of them")
        if self.sha256 and not re.fullmatch(r"(?i)(sha256:)?[0-9a-f]{64}", self.sha256):
            raise ValueError("`sha256` must have 64 hexadecimal digits")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> Any:
        """A text where that says all of it, as most write it."""
        only = self.model_fields_set
        if only in ({"path"}, {"ref"}) or not only:
            return self.path or self.ref
        return {key: value for key, value in handler(self).items() if key in only}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A text is one too."""
        found = handler.resolve_ref_schema(handler(core))
        section = dict(found)
        found.clear()
        found.update({"description": section.pop("description", ""), "anyOf": [{"type": "string"}, section]})
        return found


class Model(Section):
    """A name that clients ask for, and how it is served."""

    macros: Macros = {}
    """Names for values in this Model alone; they go before the `macros` of the top."""
    source: SourceSection = SourceSection()
    """Where its weights come from: the path of a .gguf file, a reference to fetch it by, or a mapping."""
    aliases: Names = ()
    """Other names for it. /v1/models lists them only with `listed_aliases`."""
    engine: str = ""
    """Which engine serves it. Default: `defaults.engine`."""
    binary: FilePath = ""
    """The engine's program. Default: `defaults.binary`, else what the engine finds (see docs/cli.md, `serve`)."""
    options: Options = {}
    """The engine's options by name, checked. `null` takes a default from `defaults.options` away."""
    load_options: dict[str, Switch | Count] = {}
    """What requests may choose (Ollama's num_ctx): `false`, `true`, or the most. By default `{ctx_size: true}`."""
    args: Args = {}
    """Further flags: `true` gives the bare flag, `false` omits it, a list repeats it; log_disable is --log-disable."""
    env: Env = {}
    """Environment variables for its process, over those in `defaults.env`; `null` takes one of those away."""
    runtime: Literal["process"] = "process"
    """Where its engine runs: as a process of this machine."""
    ttl: Duration | None = None
    """Idle time after which it is unloaded: a duration, `never`, or 0 for at once. Default: `defaults.ttl`."""
    keep_alive: KeepAliveSection = KeepAliveSection()
    """What requests may ask for in the place of `ttl`; what is not named is that of `defaults.keep_alive`."""
    pin: Switch = False
    """Started with Corral, started again when it fails, never unloaded to make room."""
    preload: Switch = False
    """Started with Corral; otherwise like any other."""
    priority: Count = Field(default=0, ge=-100, le=100)
    """Among waiting requests the higher number is served first."""
    queue_limit: Count = Field(default=0, ge=0)
    """Requests that may wait for it. 0: `limits.queue_per_model`."""
    fit: FitSection = FitSection()
    """How far it may be made smaller when it can never fit; by default (`refuse`) not at all."""
    timeouts: TimeoutsSection = TimeoutsSection()
    """Its own timeouts; those it does not name are those of `defaults.timeouts`."""
    loading_state: LoadingState | None = None
    """How a stream that waits for it tells of the load or the queue. Default: `defaults.loading_state`."""
    title: str = ""
    """A name for people."""
    description: str = ""
    """A sentence for people."""
    task: Literal["chat", "completion", "embeddings", "rerank"] | None = None
    """What it is for, as /v1/models says. Default: what its file says."""
    capabilities: tuple[Capability, ...] = ()
    """What it can do, as /v1/models says, in place of what its file says."""
    unlisted: Switch = False
    """Left out of /v1/models; it serves whoever knows its name."""
    listed_aliases: Switch | None = None
    """/v1/models has an entry for each alias and profile too. Default: `defaults.listed_aliases`."""
    request: RequestSection = RequestSection()
    """What is done to the fields of every request for it, whatever dialect it came in, before the engine gets it."""
    profiles: dict[str, Profile] = {}
    """Parameters under names of their own; `creative: {set: {temperature: 1.2}}` is asked for as MODEL:creative."""
    metadata: dict[str, Any] = {}
    """Anything; shown as it is in /v1/models. Its `context_length` goes before what the file and the engine say."""


class Group(Section):
    """Which Models leave when another comes. A Model is in at most one group."""

    members: Texts = Field(min_length=1)
    """Names of Models."""
    swap: Switch = True
    """Only one member runs at a time. false: members run side by side."""
    exclusive: Switch = False
    """When a member starts, the members of all other groups leave."""
    persistent: Switch = False
    """Members stay when another group's `exclusive` would have them leave."""


class Config(Section):
    """The whole of corral.yaml."""

    version: Literal[1] = 1
    """The version of this schema."""
    server: Server = Server()
    """The address that clients call, and who may call it."""
    log: Log = Log()
    """What Corral says of itself."""
    memory: Memory = Memory()
    """How much memory all engines together may take."""
    store: Store = Store()
    """Where model files are kept, and how they are fetched."""
    limits: LimitsSection = LimitsSection()
    """Bounds on waiting."""
    defaults: Defaults = Defaults()
    """What Models have unless they say otherwise."""
    macros: Macros = {}
    """Names for values: `${name}` in any other value stands for it, with its type."""
    models: dict[ModelName, Model] = {}
    """The Models by name."""
    groups: dict[ModelName, Group] = {}
    """Which Models leave when another comes, by group."""
    state_dir: FilePath = ""
    """Folder for the control socket, handles and logs; one Corral each. Default: `$XDG_STATE_HOME/corral`."""
    on_exit: Literal["stop", "keep"] = "stop"
    """What becomes of engines when Corral ends: `stop`, or `keep` them for the next Corral to find again."""
    keep_for: Timeout = 3600.0
    """With `on_exit: keep`: how long engines wait for the next Corral."""


def arg_items(args: Mapping[str, Any]) -> tuple[tuple[str, ArgValue], ...]:
    """`args` in the order of the file; what is null is left out."""
    return tuple((name, value) for name, value in args.items() if value is not None)
