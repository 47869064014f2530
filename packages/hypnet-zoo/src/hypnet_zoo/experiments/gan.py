"""A hypernetwork as the generator of a generative adversarial network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from hypnet_core.errors import CheckpointError, ConfigError, DivergedError
from hypnet_core.networks import HyperNetwork
from hypnet_core.plugins import DatasetChoice, HypernetChoice, LoggerChoices, default_loggers
from hypnet_core.protocols import Logger, TaskLike
from hypnet_core.runs import (
    CheckpointOptions,
    Log,
    Run,
    build_loggers,
    pack,
    progress,
    unpack,
    write_atomic,
)
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.continual.options import Section
from hypnet_zoo.continual.preparation import load_tasks, named, pick_device
from hypnet_zoo.continual.report import png_of
from hypnet_zoo.continual.seeds import random_state, seeded, set_random_state
from hypnet_zoo.losses import (
    GanLoss,
    discriminator_accuracy,
    discriminator_loss,
    generator_loss,
    with_mean_statistics,
)
from hypnet_zoo.mainnets import MLP


class GanConfig(Section):
    """Configuration of the experiment `gan`."""

    data: DatasetChoice = DatasetChoice.default("gaussian_mixture")
    """The samples to imitate: the inputs of one task of vectors."""
    hnet: HypernetChoice = HypernetChoice.default("hmlp", hidden=(128, 128))
    """The hypernetwork that generates samples from noise, and its options."""
    latent_dim: PositiveInt = Field(16, description="Dimensions of the noise.")
    latent_std: PositiveFloat = Field(1.0, description="Standard deviation of the noise.")
    loss: GanLoss = Field("vanilla", description="Which losses play against each other.")
    smoothing: float = Field(
        0.1, ge=0.0, lt=1.0, description="One-sided label smoothing of `vanilla`."
    )
    hidden: tuple[PositiveInt, ...] = Field(
        (128, 128), description="Hidden layers of the discriminator."
    )
    mean_statistics: bool = Field(
        True, description="Show the discriminator the mean of a batch beside each sample."
    )
    clip_weights: PositiveFloat | None = Field(
        None, description="Bound of the discriminator's weights; 0.1 by default for `wasserstein`."
    )
    discriminator_steps: PositiveInt = Field(
        1, description="Steps of the discriminator for each step of the generator."
    )
    iterations: PositiveInt = Field(5000, description="Steps of the generator.")
    batch_size: PositiveInt = Field(256, description="Samples per step, real and generated.")
    lr: PositiveFloat = Field(1e-3, description="Learning rate of both, by Adam with β₁ = 0.5.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of all randomness.")
    device: str = Field("auto", description='Where to compute; "auto" takes a GPU if there is one.')
    log_every: PositiveInt = Field(100, description="Steps between entries in metrics.jsonl.")
    log: LoggerChoices = default_loggers("tensorboard")
    """Loggers beside `metrics.jsonl`; `[]` for none."""
    checkpoint: CheckpointOptions = CheckpointOptions(every_steps=1000)
    """Which checkpoints are written and kept."""


@dataclass(frozen=True)
class _Prepared:
    task: TaskLike
    game: Game
    loggers: Mapping[str, Logger]


class Gan:
    r"""Imitates samples by a hypernetwork that plays against a discriminator.

    The hypernetwork maps noise $z \sim \mathcal{N}(0, \sigma^2 I)$ to a point, its only
    "weights". The same game, with the weights of a network in the place of a point,
    makes a distribution over networks. The summary has the energy distance to test
    samples, zero for equal distributions, and for a known mixture the number of
    components that are covered.

    References:
        I. Goodfellow et al.: Generative adversarial nets. NIPS 2014, arXiv:1406.2661.
        Energy distance: G. J. Székely, M. L. Rizzo: Energy statistics. J. Stat. Plan.
        Inference 143 (2013).
    """

    Config: ClassVar[type[GanConfig]] = GanConfig

    def __init__(self) -> None:
        self._prepared: tuple[GanConfig, _Prepared] | None = None

    def prepare(self, config: GanConfig) -> Sequence[str]:
        """Load the data and build the networks, before a run starts."""
        self._prepared = config, _prepare(config)
        return ()

    def run(self, config: GanConfig, run: Run) -> Mapping[str, Any]:
        """Play the game, and compare what is generated with test samples."""
        kept, self._prepared = self._prepared, None
        prepared = kept[1] if kept is not None and kept[0] == config else _prepare(config)
        game = prepared.game
        run.configure_checkpoints(config.checkpoint, higher_is_better=False)
        with seeded(config.seed):
            _restore(game, run)
            with Log(run, prepared.loggers, step=game.step) as log:
                _play(game, config, run, log)
                generated, truth = game.sample(2000), _inputs(prepared.task.test).to(game.device)
                picture = _picture(generated.cpu(), truth.cpu())
                write_atomic(run.path / "samples.png", picture)
                log.image(game.step, "samples", picture)
                log.summary = _summary(prepared.task, generated, truth, game)
        return dict(log.summary)

    def report(self, summary: Mapping[str, Any]) -> str:
        """The line that `hypnet run` prints at the end."""
        text = f"energy distance {summary['energy_distance']:.4f}"
        if "modes" not in summary:
            return text
        return f"{text}, {summary['modes']} of {summary['components']} modes"


class Game:
    """Generator, discriminator and their optimisers.

    Args:
        config: The configuration.
        size: Length of a sample.
        train: Real samples `[N, size]`.
    """

    def __init__(self, config: GanConfig, size: int, train: Tensor) -> None:
        self.config = config
        self.device = train.device
        self.train = train
        self.step = 0
        target = TargetSpec.from_shapes([[size]], names=["sample"])
        conditions = ConditionSpec(size=config.latent_dim)
        with named("hnet"):
            generator: HyperNetwork = config.hnet.build(target, conditions)
        self.generator = generator.to(self.device)
        inputs = size * (2 if config.mean_statistics else 1)
        self.discriminator = MLP((inputs,), 1, hidden=config.hidden, activation="leaky_relu").to(
            self.device
        )
        self.optimizers = [
            torch.optim.Adam(part.parameters(), lr=config.lr, betas=(0.5, 0.999))
            for part in (self.generator, self.discriminator)
        ]

    def generate(self, count: int) -> Tensor:
        """Generated samples `[count, size]`."""
        z = self.config.latent_std * torch.randn(count, self.config.latent_dim, device=self.device)
        flat: Tensor = self.generator(cond_input=z).flat
        return flat

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Generated samples without gradient."""
        return self.generate(count)

    def judge(self, samples: Tensor) -> Tensor:
        """Outputs of the discriminator `[B]`."""
        x = with_mean_statistics(samples) if self.config.mean_statistics else samples
        outputs: Tensor = self.discriminator(x)
        return outputs.squeeze(-1)

    def advance(self) -> dict[str, Tensor]:
        """One step of the generator, after those of the discriminator."""
        config = self.config
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        for _ in range(config.discriminator_steps):
            losses = self._judge_better()
        fake = self.judge(self.generate(config.batch_size))
        loss = generator_loss(fake, config.loss)
        loss.backward()
        self.optimizers[0].step()
        self.step += 1
        return {"generator": loss.detach(), **losses}

    def _judge_better(self) -> dict[str, Tensor]:
        config, optimizer = self.config, self.optimizers[1]
        rows = torch.randint(len(self.train), (config.batch_size,), device="cpu")
        real = self.judge(self.train[rows.to(self.device)])
        fake = self.judge(self.sample(config.batch_size))
        loss = discriminator_loss(real, fake, config.loss, smoothing=config.smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bound = config.clip_weights or (0.1 if config.loss == "wasserstein" else None)
        if bound is not None:
            for parameter in self.discriminator.parameters():
                parameter.data.clamp_(-bound, bound)
        accuracy = discriminator_accuracy(real.detach(), fake, config.loss)
        return {"discriminator": loss.detach(), "discriminator_accuracy": accuracy}

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to continue."""
        return {
            "step": self.step,
            "generator": dict(self.generator.state_dict()),
            "discriminator": dict(self.discriminator.state_dict()),
            "optimizers": [one.state_dict() for one in self.optimizers],
            "random": random_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        self.step = state["step"]
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        set_random_state(state["random"])


def energy_distance(x: Tensor, y: Tensor) -> float:
    r"""How far two samples are from each other: $2 E|X - Y| - E|X - X'| - E|Y - Y'|$.

    Args:
        x: `[n, d]`.
        y: `[m, d]`.
    """
    x, y = x.double(), y.double()
    own = [2.0 * nn.functional.pdist(part.cpu()).mean() for part in (x, y)]
    # A sample's distance to itself counts in the mean over all pairs.
    within = [
        0.5 * mean * (len(part) - 1) / len(part) for mean, part in zip(own, (x, y), strict=True)
    ]
    return float(2.0 * torch.cdist(x, y).mean().cpu() - within[0] - within[1])


def _prepare(config: GanConfig) -> _Prepared:
    device = pick_device(config.device)
    tasks = load_tasks(config.data)
    if len(tasks) != 1 or len(tasks[0].spec.in_shape) != 1:
        raise ConfigError(
            f"data: {config.data.name} has {len(tasks)} task(s) with inputs"
            f" {list(tasks[0].spec.in_shape)}: the samples of one task of vectors are imitated"
        )
    train = _inputs(tasks[0].train).to(device)
    loggers = build_loggers(config.log)
    with seeded(config.seed):
        game = Game(config, math.prod(tasks[0].spec.in_shape), train)
    return _Prepared(tasks[0], game, loggers)


def _inputs(split: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    batch = next(iter(split.batches(len(split), generator=generator)))
    x: Tensor = batch.x
    return x


def _restore(game: Game, run: Run) -> None:
    checkpoint = run.restore(device=str(game.device))
    if checkpoint is None:
        return
    if "game" not in checkpoint.state:
        raise CheckpointError(f"the checkpoint in {run.path} does not hold the state of a game")
    game.load_state_dict(unpack(checkpoint.tensors, checkpoint.state["game"]))
    run.logger.info("resumed at step %d", game.step)


def _play(game: Game, config: GanConfig, run: Run, log: Log) -> None:
    with progress(config.iterations, start=game.step) as shown:
        while game.step < config.iterations:
            losses = game.advance()
            step = game.step
            if step % config.log_every == 0 or step == config.iterations:
                found = {name: float(loss) for name, loss in losses.items()}
                if not all(map(math.isfinite, found.values())):
                    raise DivergedError(f"a loss became infinite or NaN in step {step}: {found}")
                log(step, found)
                shown.advance(step, description="gan", **found)
            if run.checkpoints.is_due(step):
                tensors, packed = pack("game", game.state_dict())
                run.save(step, tensors, {"game": packed})


def _summary(task: TaskLike, generated: Tensor, truth: Tensor, game: Game) -> dict[str, Any]:
    found: dict[str, Any] = {
        "energy_distance": energy_distance(generated, truth),
        "parameters": sum(p.numel() for p in game.generator.parameters()),
    }
    mixture = getattr(task, "mixture", None)
    if mixture is not None:
        found["modes"] = mixture.mode_coverage(generated.cpu()).covered
        found["components"] = len(mixture)
    return found


def _picture(generated: Tensor, truth: Tensor) -> bytes:
    """Test samples and generated ones, by their first two coordinates, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, points, title in zip(panels, (truth, generated), ("test", "generated"), strict=True):
        second = points[:, 1] if points.shape[1] > 1 else torch.zeros(len(points))
        axes.scatter(points[:, 0], second, s=4, alpha=0.5, linewidths=0)
        axes.set_title(f"{title} samples")
    return png_of(figure)
