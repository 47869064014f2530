"""Methods of continual learning side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import MethodChoice
from hypnet_core.protocols import WeightsPerTask
from hypnet_core.runs import Run, execute
from hypnet_zoo.continual.options import Train
from hypnet_zoo.continual.preparation import load_tasks
from hypnet_zoo.experiments._continual.config import CompareConfig, ContinualConfig, LoopConfig
from hypnet_zoo.experiments.continual import Continual

if TYPE_CHECKING:
    from rich.table import Table


_OF_HYPERNETWORKS = {"embeddings", "theta"}
"""Groups of parameters that only methods with a hypernetwork have."""


class Compare:
    """Learns one sequence of tasks by several methods, and puts them in one table.

    Each method has a run of its own in `methods/`, with the same data, network, options
    of training and seed. An interrupted run goes on with the method that it was at.
    `summary.json` holds `accuracy` (or `mse`), `forgetting` and the other measures by
    method, and `margins`: how much better each method is than each other one.
    """

    Config: ClassVar[type[CompareConfig]] = CompareConfig

    def __init__(self) -> None:
        self._prepared: tuple[CompareConfig, dict[str, Continual]] | None = None

    def prepare(self, config: CompareConfig) -> Sequence[str]:
        """Check each method as `continual` would, before a run starts."""
        _check_infer(config)
        # One set of samples for all methods: it may be large.
        tasks = load_tasks(config.data, config.tasks)
        prepared: dict[str, Continual] = {}
        notes: dict[str, None] = {}
        for label, method in _labelled(config.methods).items():
            prepared[label] = Continual(tasks)
            notes |= dict.fromkeys(prepared[label].prepare(_single(config, method)))
        self._prepared = config, prepared
        return list(notes)

    def _taken(self, config: CompareConfig) -> dict[str, Continual]:
        """Take what `prepare` built, once: a second run starts with new networks."""
        kept, self._prepared = self._prepared, None
        if kept is not None and kept[0] == config:
            return kept[1]
        tasks = load_tasks(config.data, config.tasks)
        return {label: Continual(tasks) for label in _labelled(config.methods)}

    def run(self, config: CompareConfig, run: Run) -> Mapping[str, Any]:
        """Learn by one method after the other."""
        run.restore()
        experiments = self._taken(config)
        found: dict[str, dict[str, Any]] = {}
        for step, (label, method) in enumerate(_labelled(config.methods).items(), 1):
            run.logger.info("method %d of %d: %s", step, len(config.methods), label)
            single = _single(config, method)
            own = _opened(run.path / "methods" / label, single)
            # Taken out, so that the memory of its networks is free afterwards.
            found[label] = execute(experiments.pop(label), single, own)
            metric = found[label]["metric"]
            run.log(step, **{f"{label} {metric}": found[label][metric]})
        return _summary(found)

    def report(self, summary: Mapping[str, Any]) -> Table:
        """The table that `hypnet run` prints at the end."""
        from rich.table import Table

        metric = summary["metric"]
        digits, unit = (2, " %") if metric == "accuracy" else (4, "")
        table = Table(title=f"{metric}, scenario {summary['scenario']}")
        table.add_column("method")
        for name in ("during", "after", "forgetting", "validation", "inferred"):
            table.add_column(name, justify="right")
        table.add_column("kept kB", justify="right")
        for label in summary[metric]:
            cells = [
                summary[name][label]
                for name in (
                    f"{metric}_during",
                    metric,
                    "forgetting",
                    f"validation_{metric}",
                    "inferred",
                )
            ]
            kept = summary["memory_bytes"][label]
            table.add_row(
                label,
                *("-" if cell is None else f"{cell:.{digits}f}{unit}" for cell in cells),
                "-" if kept is None else f"{kept / 1e3:.0f}",
            )
        return table


def _labelled(methods: Sequence[MethodChoice]) -> dict[str, MethodChoice]:
    """Methods by name; the second of a name gets a number."""
    found: dict[str, MethodChoice] = {}
    for method in methods:
        name, number = method.name.rpartition(":")[2], 1
        label = name
        while label in found:
            number += 1
            label = f"{name}_{number}"
        found[label] = method
    return found


def _single(config: CompareConfig, method: MethodChoice) -> ContinualConfig:
    """The configuration of `continual` for one method."""
    shared = {name: getattr(config, name) for name in LoopConfig.model_fields}
    if not _has_weights_per_task(method):
        shared["infer"] = None  # there is nothing to infer from
    shared["train"] = _with_groups_of(config, method)
    return ContinualConfig(**shared, method=method)


def _with_groups_of(config: CompareConfig, method: MethodChoice) -> Train:
    """The options of training, without groups of a hypernetwork that is not there.

    They stay if no method has one, so that the first one refuses them.
    """
    if _has_hypernetwork(method) or not any(map(_has_hypernetwork, config.methods)):
        return config.train
    groups = {key: own for key, own in config.train.groups.items() if key not in _OF_HYPERNETWORKS}
    return config.train.model_copy(update={"groups": groups})


def _has_hypernetwork(method: MethodChoice) -> bool:
    # Methods with a penalty have one if they are told so.
    chosen = method.options.get("hypernet") is not None
    return chosen or bool(getattr(method.entry.load(), "has_hypernetwork", False))


def _check_infer(config: CompareConfig) -> None:
    if config.infer is not None and not any(map(_has_weights_per_task, config.methods)):
        raise ConfigError(
            f"infer={config.infer}: none of the methods has weights for each task, by which tasks"
            " could be inferred"
        )


def _has_weights_per_task(method: MethodChoice) -> bool:
    kind = method.entry.load()
    return isinstance(kind, type) and issubclass(kind, WeightsPerTask)


def _opened(path: Path, config: ContinualConfig) -> Run:
    """The run of a method: a new one, or the one that was interrupted."""
    if (path / "config.json").exists():
        return Run.resume(path)
    return Run.create(path, experiment="continual", config=config)


def _summary(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    first = next(iter(found.values()))
    metric = first["metric"]
    names = [
        metric,
        f"{metric}_during",
        f"validation_{metric}",
        "forgetting",
        "backward_transfer",
        "anytime",
        "inferred",
        "parameters",
        "memory_bytes",
    ]
    sign = 1.0 if metric == "accuracy" else -1.0
    return {
        "metric": metric,
        "scenario": first["scenario"],
        **{name: {label: one.get(name) for label, one in found.items()} for name in names},
        "margins": {
            label: {
                other: sign * (one[metric] - another[metric])
                for other, another in found.items()
                if other != label
            }
            for label, one in found.items()
        },
    }
