"""Continual learning with a task-conditioned hypernetwork."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from hypnet_core.errors import CheckpointError
from hypnet_core.protocols import BatchLike
from hypnet_core.runs import Log, Progress, Run, deterministic, progress, write_atomic
from hypnet_zoo.experiments._hypercl.config import HyperCLConfig
from hypnet_zoo.experiments._hypercl.debug import FiniteChecks
from hypnet_zoo.experiments._hypercl.prepare import Prepared
from hypnet_zoo.experiments._hypercl.report import results_table, scores_plot, summarize
from hypnet_zoo.experiments._hypercl.setup import cpu_threads, seed_of, seeded
from hypnet_zoo.experiments._hypercl.training import (
    Losses,
    TaskTrainer,
    check_finite,
    check_networks,
    evaluate,
)

if TYPE_CHECKING:
    from rich.table import Table


class HyperCL:
    r"""Learns a sequence of tasks without forgetting and without old data.

    Each task $t$ has an embedding $e_t$; a hypernetwork generates the main network's
    weights $h(e_t, \theta)$. While task $t$ is learned, a regulariser keeps
    the weights of earlier tasks in place:

    $$ \mathcal{L}_t(\theta, e_t) + \frac{\beta}{t - 1} \sum_{t' < t} \lVert h(e_{t'},
    \theta) - h(e_{t'}, \theta^*) \rVert^2 $$

    with $\theta^*$ the parameters before task $t$. The task of a test sample is known
    (task-incremental learning).

    A checkpoint is written after each task. An interrupted run that is resumed ends
    with exactly the results of one that never stopped: all randomness of a task comes
    from the configuration's seed and the task's number.

    References:
        J. von Oswald, C. Henning, B. F. Grewe, J. Sacramento: Continual learning with
        hypernetworks. ICLR 2020, arXiv:1906.00695.
    """

    Config: ClassVar[type[HyperCLConfig]] = HyperCLConfig

    def __init__(self) -> None:
        self._prepared: tuple[HyperCLConfig, Prepared] | None = None

    def prepare(self, config: HyperCLConfig) -> Sequence[str]:
        """Load and check the data, and build the networks, before a run starts."""
        with deterministic(config.deterministic):
            prepared = Prepared.of(config)
        self._prepared = config, prepared
        return prepared.notes

    def run(self, config: HyperCLConfig, run: Run) -> Mapping[str, Any]:
        """Learn all tasks, and summarise their scores after learning and at the end."""
        with deterministic(config.deterministic):
            return self._run(config, run)

    def _run(self, config: HyperCLConfig, run: Run) -> Mapping[str, Any]:
        learner = Learner(config, run, self._taken(config))
        learner.restore()
        parameters = learner.number_of_parameters
        with cpu_threads(config.threads, parameters + learner.net.spec.numel) as threads:
            run.logger.info(
                "%s, %d CPU thread(s); %d parameters generate %d",
                learner.device,
                threads,
                parameters,
                learner.net.target.numel,
            )
            return learner.learn_all()

    def _taken(self, config: HyperCLConfig) -> Prepared:
        """Take what `prepare` built, once: a second run starts with new networks."""
        kept, self._prepared = self._prepared, None
        return kept[1] if kept is not None and kept[0] == config else Prepared.of(config)

    def report(self, summary: Mapping[str, Any]) -> Table:
        """The table that `hypnet run` prints at the end."""
        return results_table(summary)


class Learner:
    """Networks, tasks and results of one run."""

    def __init__(self, config: HyperCLConfig, run: Run, prepared: Prepared) -> None:
        self.config = config
        self.run = run
        self.prepared = prepared
        self.device, self.tasks = prepared.device, prepared.tasks
        self.net, self.hypernet = prepared.net, prepared.hypernet
        self.checks = FiniteChecks(self.net, self.hypernet)
        for note in prepared.notes:
            run.logger.info("%s", note)
        self.steps = [self._steps(t) for t in range(len(self.tasks))]
        self.scores: list[list[float]] = []
        run.configure_checkpoints(
            config.checkpoint, higher_is_better=self.tasks[0].spec.kind == "classification"
        )

    def restore(self) -> None:
        """Load the latest checkpoint, if there is one.

        Raises:
            CheckpointError: The checkpoint is damaged, or belongs to other networks.
        """
        checkpoint = self.run.restore(device=str(self.device))
        if checkpoint is None:
            return
        try:
            self.net.load_state_dict(checkpoint.part("net"))
            self.hypernet.load_state_dict(checkpoint.part("hnet"))
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint in {self.run.path} does not fit the networks of its configuration:"
                f" {error}"
            ) from error
        self.scores = checkpoint.state["scores"]
        self.run.logger.info("resumed after task %d of %d", len(self.scores), len(self.tasks))

    def learn_all(self) -> dict[str, Any]:
        """Learn the remaining tasks, test all so far after each, and summarise."""
        done = sum(self.steps[: len(self.scores)])
        with Log(self.run, self.prepared.loggers, step=done) as log:
            with progress(sum(self.steps), start=done) as shown:
                for t in range(len(self.scores), len(self.tasks)):
                    # Seeds by task, so that a resumed run draws what the first one
                    # would have.
                    with seeded(self.config.seed, t):
                        self._learn(t, log, shown, done=sum(self.steps[:t]))
                    check_networks((self.net, self.hypernet), f"task {t + 1}")
                    self.scores.append([self._score(j, "test") for j in range(t + 1)])
                    self._save(t, self._report(t, log))
            picture = scores_plot(self.scores, self.tasks)
            write_atomic(self.run.path / "scores.png", picture)
            log.image(sum(self.steps), "scores", picture)
            log.summary = self._summary()
            return log.summary

    def _report(self, t: int, log: Log) -> float:
        """Log the scores after task `t`, and return their mean."""
        name = "accuracy" if self.tasks[t].spec.kind == "classification" else "mse"
        step, scores = sum(self.steps[: t + 1]), self.scores[-1]
        mean = sum(scores) / len(scores)
        # Earlier tasks too, whose curves show what is forgotten.
        for j, score in enumerate(scores):
            log(step, {f"test_{name}": score}, task=j)
        log(step, {f"test_{name}_mean": mean})
        text = "task %d of %d: %s %.4g, mean so far %.4g"
        self.run.logger.info(text, t + 1, len(self.tasks), name, scores[-1], mean)
        return mean

    def _summary(self) -> dict[str, Any]:
        generated = self.net.target.numel
        return summarize(
            self.scores, self.tasks, generated=generated, parameters=self.number_of_parameters
        )

    @property
    def number_of_parameters(self) -> int:
        """Number of parameters of the hypernetwork."""
        return sum(parameter.numel() for parameter in self.hypernet.parameters())

    def _learn(self, t: int, log: Log, shown: Progress, *, done: int) -> None:
        task, train = self.tasks[t], self.config.train
        trainer = TaskTrainer(
            self.net,
            self.hypernet,
            t,
            task.spec,
            train=train,
            continual=self.config.cl,
            generator=torch.Generator().manual_seed(seed_of(self.config.seed, t, 1)),
        )
        best = Best(train.patience, higher_is_better=task.spec.kind == "classification")
        for step, batch in enumerate(islice(self._batches(t), self.steps[t]), start=1):
            losses = self._step(trainer, batch, f"task {t + 1}, step {step}")
            # Reading the losses waits for a GPU, so not at every step.
            if step % self.config.log_every == 0 or step == self.steps[t]:
                check_finite(losses, f"task {t + 1}, step {step}")
                values = {"loss": losses.task.item(), "penalty": losses.penalty.item()}
                log(done + step, values, task=t)
                shown.advance(
                    done + step, description=f"task {t + 1} of {len(self.tasks)}", **values
                )
            if train.validate_every and task.val is not None and step % train.validate_every == 0:
                score = self._score(t, "val")
                log(done + step, {"validation": score}, task=t)
                if best.no_longer_improves(score, self.net, self.hypernet):
                    self.run.logger.info("task %d: stopped early at step %d", t + 1, step)
                    break
        best.restore(self.net, self.hypernet)

    def _step(self, trainer: TaskTrainer, batch: BatchLike, where: str) -> Losses:
        if not self.config.debug:
            return trainer.step(batch)
        self.checks.where = where
        with self.checks.watching():
            losses = trainer.step(batch)
        self.checks.after_step(losses)
        return losses

    def _batches(self, t: int) -> Iterator[BatchLike]:
        """Shuffled passes over the training samples, without end."""
        generator = torch.Generator().manual_seed(seed_of(self.config.seed, t, 2))
        train, size = self.tasks[t].train, self.config.train.batch_size
        # By whole passes: splits that read files do so ahead, in worker processes.
        passes = (
            train.batches(
                size,
                shuffle=True,
                generator=generator,
                device=self.device,
                drop_last=self.prepared.leave_out[t],
            )
            for _ in repeat(None)
        )
        return chain.from_iterable(passes)

    def _steps(self, t: int) -> int:
        train = self.config.train
        if train.epochs is None:
            return train.iterations
        return train.epochs * self.prepared.batches_per_pass(t, train.batch_size)

    def _score(self, t: int, split: str) -> float:
        task = self.tasks[t]
        samples = task.val if split == "val" and task.val is not None else task.test
        size = self.config.train.eval_batch_size
        return evaluate(
            self.net, self.hypernet, t, task.spec, samples, batch_size=size, device=self.device
        )

    def _save(self, t: int, score: float) -> None:
        step = sum(self.steps[: t + 1])
        # The last one always, from which other runs may start.
        if t + 1 < len(self.tasks) and not self.run.checkpoints.is_due(step):
            return
        tensors = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        tensors |= {f"hnet.{name}": tensor for name, tensor in self.hypernet.state_dict().items()}
        self.run.save(step, tensors, {"scores": self.scores}, score=score)


class Best:
    """Early stopping: remembers the networks of the best validation.

    Args:
        patience: Validations without an improvement before stopping; `None` never stops
            and remembers nothing.
        higher_is_better: Whether a larger score is better.
    """

    def __init__(self, patience: int | None, *, higher_is_better: bool) -> None:
        self.patience = patience
        self.sign = 1.0 if higher_is_better else -1.0
        self.score = -math.inf
        self.without_improvement = 0
        self.states: list[dict[str, Any]] | None = None

    def no_longer_improves(self, score: float, *networks: nn.Module) -> bool:
        """Record a validation score; true once patience has run out."""
        if self.patience is None:
            return False
        if self.sign * score > self.score:
            self.score, self.without_improvement = self.sign * score, 0
            self.states = [copy.deepcopy(network.state_dict()) for network in networks]
        else:
            self.without_improvement += 1
        return self.without_improvement >= self.patience

    def restore(self, *networks: nn.Module) -> None:
        """Load the networks of the best validation, if there was one."""
        for network, state in zip(networks, self.states or [], strict=False):
            network.load_state_dict(state)
