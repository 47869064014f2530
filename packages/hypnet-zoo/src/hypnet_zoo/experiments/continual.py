"""Continual learning of a task sequence, by any method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from hypnet_core.errors import CheckpointError
from hypnet_core.plugins import MethodChoice
from hypnet_core.protocols import Logger, TaskLike
from hypnet_core.runs import (
    Log,
    Run,
    build_loggers,
    deterministic,
    pack,
    progress,
    unpack,
    write_atomic,
    write_json,
)
from hypnet_zoo.continual.assembly import MethodMaker, assemble
from hypnet_zoo.continual.callbacks import (
    Checkpointing,
    FiniteChecks,
    Metrics,
    Timing,
    Validation,
)
from hypnet_zoo.continual.learning import Learning
from hypnet_zoo.continual.preparation import (
    cpu_threads,
    load_tasks,
    named,
    number_of_parameters,
    pick_device,
)
from hypnet_zoo.continual.report import results_table, scores_plot, summarize
from hypnet_zoo.experiments._continual.config import ContinualConfig, LoopConfig

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Prepared:
    """A loop before its first step, and where its metrics go.

    Attributes:
        learning: The loop.
        loggers: Loggers by name.
        notes: Remarks for the user.
    """

    learning: Learning
    loggers: Mapping[str, Logger]
    notes: tuple[str, ...]


class Continual:
    """Learns a sequence of tasks, by any method, in any of three scenarios.

    An interrupted run that is resumed ends with exactly the results of one that never
    stopped: all randomness of a task comes from the configuration's seed and the task's
    number, and checkpoints hold the whole state of the loop.

    Args:
        tasks: The tasks, if they are loaded already; by default the configuration says
            where they are.

    References:
        G. M. van de Ven, A. S. Tolias: Three scenarios for continual learning. 2019,
        arXiv:1904.07734.
    """

    Config: ClassVar[type[LoopConfig]] = ContinualConfig

    def __init__(self, tasks: Sequence[TaskLike] | None = None) -> None:
        self.tasks = tasks
        self._prepared: tuple[LoopConfig, Prepared] | None = None

    def method_of(self, config: Any) -> MethodChoice:
        """The method that a configuration chooses, with its options."""
        found: MethodChoice = config.method
        return found

    def prepare(self, config: LoopConfig) -> Sequence[str]:
        """Load and check the data, and build the networks, before a run starts."""
        with deterministic(config.deterministic):
            prepared = self._build(config)
        self._prepared = config, prepared
        return prepared.notes

    def run(self, config: LoopConfig, run: Run) -> Mapping[str, Any]:
        """Learn all tasks, and summarise their scores after learning and at the end."""
        with deterministic(config.deterministic):
            return self._run(config, self._taken(config), run)

    def report(self, summary: Mapping[str, Any]) -> Table:
        """The table that `hypnet run` prints at the end."""
        return results_table(summary)

    def _taken(self, config: LoopConfig) -> Prepared:
        """Take what `prepare` built, once: a second run starts with new networks."""
        kept, self._prepared = self._prepared, None
        return kept[1] if kept is not None and kept[0] == config else self._build(config)

    def _build(self, config: LoopConfig) -> Prepared:
        device = pick_device(config.device)
        loggers = build_loggers(config.log)
        chosen = self.method_of(config)
        method = MethodMaker(chosen.name, chosen.entry.load(), chosen.build)

        def make_module(in_shape: Sequence[int], out_features: int) -> nn.Module:
            with named("mnet"):
                module: nn.Module = config.mnet.build(in_shape, out_features)
            config.mnet_init.apply(module)  # before a method takes out generated parameters
            return module

        assembled = assemble(
            load_tasks(config.data, config.tasks) if self.tasks is None else self.tasks,
            method,
            make_module,
            scenario=config.scenario,
            heads=config.heads,
            infer=config.infer,
            train=config.train,
            seed=config.seed,
            device=device,
        )
        self.check(config, assembled.learning)
        return Prepared(assembled.learning, loggers, assembled.notes)

    def check(self, config: Any, learning: Learning) -> None:
        """Further checks of an experiment, before a run starts."""

    def _run(self, config: LoopConfig, prepared: Prepared, run: Run) -> Mapping[str, Any]:
        learning = prepared.learning
        for note in prepared.notes:
            run.logger.info("%s", note)
        run.configure_checkpoints(config.checkpoint, higher_is_better=learning.higher_is_better)
        size = number_of_parameters(learning.method, learning.problem.module)
        with cpu_threads(config.threads, size) as threads:
            run.logger.info("%s, %d CPU thread(s)", learning.problem.device, threads)
            return Session(config, prepared, run).learn()


class Session:
    """One run of a loop: its callbacks, checkpoints and results.

    Args:
        config: The configuration.
        prepared: The loop.
        run: The run.
    """

    def __init__(self, config: LoopConfig, prepared: Prepared, run: Run) -> None:
        self.config = config
        self.learning = prepared.learning
        self.loggers = prepared.loggers
        self.run = run
        self.log: Log | None = None
        self.timing = Timing(self.learning.problem.device)
        self.metrics = Metrics(self.learning, every=config.log_every, log=self._log)
        self.learning.callbacks += [
            self.timing,
            *([FiniteChecks(self.learning)] if config.debug else []),
            Validation(self.learning, log=self._log, say=lambda text: run.logger.info("%s", text)),
            self.metrics,
            Checkpointing(self.learning, run.checkpoints, self._save),
        ]

    def learn(self) -> dict[str, Any]:
        """Continue from the last checkpoint, learn the other tasks, and summarise."""
        learning = self.learning
        self._restore()
        with Log(self.run, self.loggers, step=learning.step) as log:
            self.log = log
            with progress(sum(learning.steps), start=learning.step) as self.metrics.shown:
                learning.run()
            log.summary = summarize(learning)
            picture = scores_plot(log.summary["scores"], learning.tasks)
            write_atomic(self.run.path / "scores.png", picture)
            log.image(learning.step, "scores", picture)
        self._report_time()
        return dict(log.summary)

    def _log(self, step: int, metrics: Mapping[str, float], *, task: int | None = None) -> None:
        if self.log is not None:
            self.log(step, metrics, task=task)

    def _save(self, step: int, score: float | None) -> None:
        tensors, packed = pack("learning", self.learning.state_dict())
        self.run.save(step, tensors, {"learning": packed}, score=score)

    def _restore(self) -> None:
        """Load the latest checkpoint, if there is one.

        Raises:
            CheckpointError: It is damaged, or belongs to other networks.
        """
        checkpoint = self.run.restore(device=str(self.learning.problem.device))
        if checkpoint is None:
            return
        if "learning" not in checkpoint.state:
            raise CheckpointError(
                f"the checkpoint in {self.run.path} does not hold the state of a loop"
            )
        self.learning.load_state_dict(unpack(checkpoint.tensors, checkpoint.state["learning"]))
        self.run.logger.info(
            "resumed at step %d, after %d of %d tasks",
            self.learning.step,
            self.learning.learned,
            len(self.learning.tasks),
        )

    def _report_time(self) -> None:
        """Times differ from run to run, so they are no part of the summary."""
        per_step = self.timing.per_step
        if per_step is None:
            return
        found = {"seconds_per_step": per_step, "steps": self.timing.steps}
        write_json(self.run.path / "timing.json", found)
        self.run.logger.info("%.3g ms per training step", 1e3 * per_step)
