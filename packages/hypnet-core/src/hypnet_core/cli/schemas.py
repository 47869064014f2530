"""Models of the documents that `--json` prints.

They are the source of the documentation: docs/command.md describes every field.

Each document names its schema and version in `schema`. Adding a field keeps the
version; removing one, or changing its meaning, makes a new one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.discovery import Plugin, Status
from hypnet_core.plugins.registry import Entry
from hypnet_core.recipes.figures import Figure
from hypnet_core.runs.keeping import Stamp
from hypnet_core.testing.kit import CheckResult


class Document(BaseModel):
    """Base of all documents."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)


class ComponentDocument(Document):
    """One component, as listed.

    Attributes:
        kind: `dataset`, `mainnet`, `hypernet`, `method`, `logger`, `scheduler`,
            `experiment` or `recipe`.
        name: Bare name.
        full_name: `plugin:name`, which is never ambiguous.
        summary: One sentence about it.
        plugin: Name of the plugin that provides it.
        distribution: The distribution that the plugin belongs to.
        version: That distribution's version.
        target: Import string of its object; of a recipe, its package and file.
    """

    kind: Kind
    name: str
    full_name: str
    summary: str
    plugin: str
    distribution: str
    version: str
    target: str

    @classmethod
    def of(cls, entry: Entry) -> ComponentDocument:
        """The document of a registered component."""
        return cls(
            **entry.component.model_dump(),
            full_name=entry.full_name,
            plugin=entry.plugin,
            distribution=entry.distribution,
            version=entry.version,
        )


class ListDocument(Document):
    """`hypnet list --json`.

    Attributes:
        schema_: `hypnet.list/1`.
        components: The components, by kind, then by name.
    """

    schema_: Literal["hypnet.list/1"] = Field("hypnet.list/1", alias="schema")
    components: list[ComponentDocument]


class OptionDocument(Document):
    """One option of a component.

    Attributes:
        key: Dotted key, as in an override.
        type: The type, in Python's notation.
        required: Whether it must be given.
        default: Its default, as JSON; `null` if it is required.
        description: What the docstring says.
    """

    key: str
    type: str
    required: bool
    default: Any = None
    description: str = ""


class ShowDocument(Document):
    """`hypnet show NAME --json`.

    Attributes:
        schema_: `hypnet.show/1`.
        component: The component.
        source: `file:line` of its definition; `null` if it has none.
        documentation: Its docstring.
        options: Its options.
        json_schema: JSON Schema of its options.
        recipe: The content of a recipe's file, with its defaults; `null` for other
            kinds.
    """

    schema_: Literal["hypnet.show/1"] = Field("hypnet.show/1", alias="schema")
    component: ComponentDocument
    source: str | None
    documentation: str
    options: list[OptionDocument]
    json_schema: dict[str, Any]
    recipe: dict[str, Any] | None = None


class PluginDocument(Document):
    """One plugin.

    Attributes:
        name: Name by which users refer to it.
        distribution: The distribution that declares it.
        version: That distribution's version.
        module: What its entry point refers to.
        status: `ok`, `broken`, or `skipped` if `HYPNET_PLUGINS` leaves it out.
        error: Why it is broken, in one line; empty if it is not.
        traceback: The same in full; empty if nothing was raised.
        notes: Further remarks for its author, one line each.
        unknown_hooks: Hooks that it implements and hypnet does not know.
        seconds: How long loading it took.
        components: Full names of its components, each behind its kind: `mainnet
            zoo:mlp`.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Status
    error: str
    traceback: str
    notes: list[str]
    unknown_hooks: list[str]
    seconds: float
    components: list[str]

    @classmethod
    def of(cls, plugin: Plugin) -> PluginDocument:
        """The document of a plugin."""
        return cls(
            name=plugin.name,
            distribution=plugin.distribution,
            version=plugin.version,
            module=plugin.module,
            status=plugin.status,
            error=plugin.error,
            traceback=plugin.traceback,
            notes=list(plugin.notes),
            unknown_hooks=list(plugin.unknown_hooks),
            seconds=plugin.seconds,
            components=[
                f"{component.kind} {plugin.name}:{component.name}"
                for component in plugin.components
            ],
        )


class PluginsDocument(Document):
    """`hypnet plugins --json`.

    Attributes:
        schema_: `hypnet.plugins/1`.
        plugins: The plugins, by name.
        faults: Everything that is wrong, one line each, as on stderr.
    """

    schema_: Literal["hypnet.plugins/1"] = Field("hypnet.plugins/1", alias="schema")
    plugins: list[PluginDocument]
    faults: list[str]


class TargetDocument(Document):
    """One tensor that a hypernetwork generates.

    Attributes:
        name: Qualified name of the parameter.
        shape: Its shape.
        kind: What it does in its layer.
        numel: Number of scalars.
        wanted: Mean square that it should start with; null without `--init`, or if the
            hypernetwork does not say.
        measured: Mean square that it starts with, over all conditions; null without
            `--init`.
    """

    name: str
    shape: list[int]
    kind: str
    numel: int
    wanted: float | None = None
    measured: float | None = None


class LayerDocument(Document):
    """Mean squares of one layer's outputs, before training.

    Attributes:
        name: Name of the layer in the main network; `output` is the network's own.
        plain: Median over the main network built anew, with the start of its own.
        low: 10 % of the conditions have less than this.
        median: Median over conditions.
        high: 10 % of the conditions have more than this.
    """

    name: str
    plain: float
    low: float
    median: float
    high: float


class InspectDocument(Document):
    """`hypnet inspect --json`.

    Attributes:
        schema_: `hypnet.inspect/1`.
        mainnet: The main network's name and all of its options.
        hypernet: The hypernetwork's name and all of its options.
        in_shape: Shape of one input.
        out_features: Number of outputs.
        conditions: Number of conditions.
        embedding_size: Length of a condition's embedding.
        target: The generated tensors, in order.
        generated: Number of generated scalars.
        own: Number of scalars of the main network that are not generated.
        conditional: Number of scalars in all conditions' embeddings.
        unconditional: Number of all other scalars of the hypernetwork.
        compression: `(conditional + unconditional) / generated`.
        layers: The sizes of activations, in the order of the calls; empty without
            `--variance`.
    """

    schema_: Literal["hypnet.inspect/1"] = Field("hypnet.inspect/1", alias="schema")
    mainnet: dict[str, Any]
    hypernet: dict[str, Any]
    in_shape: list[int]
    out_features: int
    conditions: int
    embedding_size: int
    target: list[TargetDocument]
    generated: int
    own: int
    conditional: int
    unconditional: int
    compression: float
    layers: list[LayerDocument] = Field(default_factory=list)


class CheckDocument(Document):
    """`hypnet check NAME --json`.

    Attributes:
        schema_: `hypnet.check/1`.
        component: The component.
        options: The options that it was checked under, beside its defaults.
        passed: Whether no check failed.
        results: One result per check: `check` (its name), `claim` (what must hold),
            `outcome` (`passed`, `failed` or `skipped`), `message`, `traceback`,
            `seconds`; empty with `--seeds`.
        seeds: The seeds that a recipe was run with; empty without `--seeds`.
        directory: The folder of those runs; `null` without `--seeds`.
        figures: A recipe's figures, measured and judged: `figure`, `expected` (both in
            words), `values` (by seed), `mean`, `interval` (95 %, Student's t),
            `verdict` (`met`, `missed` or `unknown`), `note`, `source`.
    """

    schema_: Literal["hypnet.check/1"] = Field("hypnet.check/1", alias="schema")
    component: ComponentDocument
    options: dict[str, Any]
    passed: bool
    results: list[CheckResult]
    seeds: list[int] = Field(default_factory=list)
    directory: str | None = None
    figures: list[Figure] = Field(default_factory=list)


class RunDocument(Document):
    """`hypnet run EXPERIMENT --json`, also with `--dry-run` and `--print-config`.

    Attributes:
        schema_: `hypnet.run/1`.
        experiment: The experiment's name.
        recipe: The recipe's name; `null` if none was run.
        directory: The run's directory.
        config: The resolved configuration.
        finished: Whether it was run; false with `--dry-run` and `--print-config`.
        summary: The results of the experiment; `null` if it was not run.
        figures: The recipe's figures, as with `hypnet check`.
    """

    schema_: Literal["hypnet.run/1"] = Field("hypnet.run/1", alias="schema")
    experiment: str
    recipe: str | None = None
    directory: str
    config: dict[str, Any]
    finished: bool
    summary: dict[str, Any] | None
    figures: list[Figure] = Field(default_factory=list)


class CheckpointDocument(Document):
    """One checkpoint of a run.

    Attributes:
        path: The file.
        step: Training steps before it.
        score: How good it is; `null` if that is unknown.
        time: When it was written, in UTC (ISO 8601).
        size: Bytes of the file.
        latest: Whether a run resumes from it.
    """

    path: str
    step: int
    score: float | None
    time: datetime
    size: int
    latest: bool

    @classmethod
    def of(cls, stamp: Stamp, *, latest: bool) -> CheckpointDocument:
        """The document of a checkpoint."""
        return cls(
            path=str(stamp.path),
            step=stamp.step,
            score=stamp.score,
            time=datetime.fromtimestamp(stamp.time, UTC),
            size=stamp.size,
            latest=latest,
        )

    def row(self) -> tuple[str, ...]:
        """The cells of a table for people."""
        score = "" if self.score is None else f"{self.score:.6g}"
        when = f"{self.time.astimezone():%Y-%m-%d %H:%M:%S}"
        mark = "latest" if self.latest else ""
        return Path(self.path).name, str(self.step), score, when, f"{self.size:,}", mark


class CheckpointsDocument(Document):
    """`hypnet checkpoints DIR --json`.

    Attributes:
        schema_: `hypnet.checkpoints/1`.
        directory: The folder.
        checkpoints: The checkpoints, the best first.
    """

    schema_: Literal["hypnet.checkpoints/1"] = Field("hypnet.checkpoints/1", alias="schema")
    directory: str
    checkpoints: list[CheckpointDocument]
