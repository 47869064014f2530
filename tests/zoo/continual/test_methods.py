"""What each method does, against independent computations."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.zoo.continual.problems import accuracy, clouds, problem, sequence_task, train_on
from torch import nn

from hypnet_core import Split, Task, TaskSpec
from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.plugins import HypernetChoice
from hypnet_core.tasks import Batch
from hypnet_zoo.continual.methods import (
    Finetune,
    GenerativeReplay,
    Hypernet,
    Joint,
    LwF,
    Masking,
    Protection,
    Replay,
    Separate,
)
from hypnet_zoo.continual.methods._distillation import distillation
from hypnet_zoo.continual.methods._memory.exemplars import Drawn, Exemplars, herded
from hypnet_zoo.continual.methods._memory.mixed import mixed_loss
from hypnet_zoo.continual.methods._networks import SharedNetwork

HMLP = HypernetChoice(name="hmlp", hidden=(8,))


def first_batch(task: Any, size: int = 20) -> Batch:
    batch: Batch = next(iter(task.train.batches(size)))
    return batch


class TestExemplars:
    """The memory of samples."""

    def test_a_reservoir_keeps_each_sample_with_equal_probability(self) -> None:
        """60 samples, 12 places: each stays in a fifth of 2,000 trials."""
        (task,) = clouds(1)
        made = problem([task])
        kept = torch.zeros(60)
        torch.manual_seed(0)
        for _ in range(2000):
            memory = Exemplars(made, 12)
            for batch in task.train.batches(7):
                memory.offer(batch, 0)
            assert len(memory) == 12
            kept[memory.fields["ids"]] += 1
        # Five standard deviations of a binomial count.
        deviation = (2000 * 0.2 * 0.8) ** 0.5
        assert (kept - 400).abs().max() < 5 * deviation

    def test_a_ring_keeps_the_last_of_each_class(self) -> None:
        (task,) = clouds(1)
        memory = Exemplars(problem([task]), 12)
        for batch in task.train.batches(7):
            memory.keep_last(batch, 0, 3)
        assert sorted(memory.fields["ids"].tolist()) == list(range(54, 60))

    @pytest.mark.parametrize("selection", ["reservoir", "ring"])
    def test_several_passes_keep_no_sample_twice(self, selection: Any) -> None:
        """More places than samples: all of them, once."""
        tasks = clouds(2)
        method = Replay(problem(tasks), budget=100, selection=selection)
        for task in range(2):
            train_on(method, task, tasks, steps=12)  # four passes
        ids = method.exemplars.fields["ids"].tolist()
        assert len(ids) == len(set(ids)) == 100
        state = method.exemplars.state_dict()
        again = Exemplars(method.problem, 100)
        again.load_state_dict(state)
        before = again.fields["ids"].tolist()
        again.offer(first_batch(tasks[1], 60), 1)
        assert again.fields["ids"].tolist() == before or selection == "ring"

    def test_herding_is_the_greedy_choice_and_follows_the_mean(self) -> None:
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(40, 5, generator=generator)
        chosen = herded(features, 6).tolist()
        scaled = F.normalize(features.double(), dim=1)
        mean, slow = scaled.mean(0), list[int]()
        for number in range(1, 7):
            best = min(
                (i for i in range(40) if i not in slow),
                key=lambda i: float((mean - scaled[[*slow, i]].sum(0) / number).norm()),
            )
            slow.append(best)
        assert chosen == slow
        draws = [scaled[torch.randperm(40, generator=generator)[:6]].mean(0) for _ in range(200)]
        distances = (torch.stack(draws) - mean).norm(dim=1)
        assert (scaled[chosen].mean(0) - mean).norm() < distances.quantile(0.05)

    @pytest.mark.parametrize("selection", ["ring", "herding"])
    def test_the_budget_is_shared_by_the_classes_so_far(self, selection: Any) -> None:
        tasks = clouds(3)
        method = Replay(problem(tasks), budget=13, selection=selection)
        for task in range(3):
            train_on(method, task, tasks, steps=6)
            counts = method.exemplars.fields["class"].bincount().tolist()
            assert counts == [13 // (2 * (task + 1))] * (2 * (task + 1))

    def test_no_sample_of_a_later_task_is_replayed(self) -> None:
        tasks = clouds(2)
        memory = Exemplars(problem(tasks), 40)
        for number, task in enumerate(tasks):
            memory.add(memory.fields_of(first_batch(task), number))
        drawn = memory.draw(99, before=1)
        assert drawn is not None
        assert drawn.tasks.unique().tolist() == [0]
        assert memory.draw(9, before=0) is None

    def test_sequences_of_other_lengths_and_rows_of_other_widths_are_kept_as_they_are(
        self,
    ) -> None:
        """Padded in the memory, and without the surplus in the loss."""
        made = []
        for number, (frames, classes) in enumerate([(3, 4), (5, 2)]):
            generator = torch.Generator().manual_seed(number)
            x = torch.randn(10, frames, 3, generator=generator)
            y = F.one_hot(torch.arange(10) % classes, classes).float()
            spec = TaskSpec(
                name=f"s{number}",
                kind="classification",
                in_shape=(3,),
                out_shape=(classes,),
                sequence=True,
            )
            split = Split.of(x, y, lengths=torch.full((10,), frames))
            made.append(Task(spec, split, split, split))
        one = problem(made, module=nn.Linear(3, 6))
        memory = Exemplars(one, 20)
        parts = [first_batch(task, 10) for task in made]
        for number, part in enumerate(parts):
            memory.offer(part, number)
        assert memory.fields["x"].shape == (20, 5, 3)
        expected = sum(
            10 * one.loss(one.module(part.x), part, task, now=1) for task, part in enumerate(parts)
        )
        drawn = memory.draw(20)
        assert drawn is not None
        found = mixed_loss(one, SharedNetwork(one.module, "shared"), drawn, 1)
        torch.testing.assert_close(found, expected / 20)
        # Shorter ones among longer ones, which take their places.
        torch.manual_seed(0)
        memory.offer(first_batch(made[0], 10), 0)
        assert memory.fields["x"].shape == (20, 5, 3)
        assert (memory.fields["lengths"] == 3).sum() > 10


@pytest.mark.parametrize(("kind", "scenario"), [("multi", "task"), ("growing", "class")])
def test_the_loss_of_several_tasks_is_the_mean_of_their_own(kind: Any, scenario: Any) -> None:
    tasks = clouds(3)
    made = problem(tasks, kind, scenario)
    network = SharedNetwork(made.module, "shared")
    parts = [first_batch(task, size) for task, size in zip(tasks[:2], (4, 9), strict=True)]
    x, y, order = (torch.cat([getattr(part, name) for part in parts]) for name in ("x", "y", "ids"))
    whole = Batch(x, y, order, None)
    ids = torch.tensor([0] * 4 + [1] * 9)
    expected = sum(
        len(part) * made.loss(made.module(part.x), part, task, now=2)
        for task, part in enumerate(parts)
    )
    found = mixed_loss(made, network, Drawn(whole, ids), 2)
    torch.testing.assert_close(found, expected / 13)


class TestLwF:
    """Learning without forgetting."""

    def test_the_teacher_is_where_its_gradient_is_zero(self) -> None:
        logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
        loss = distillation(logits, logits.detach(), 2.0)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient.abs().max() < 1e-12
        entropy = torch.distributions.Categorical(logits=logits / 2.0).entropy()
        torch.testing.assert_close(loss, 4.0 * entropy.mean())

    def test_classes_that_do_not_compete_are_out_of_the_softmax(self) -> None:
        logits, teacher = torch.randn(5, 4), torch.randn(5, 4)
        competing = torch.tensor([True, True, True, False]).expand(5, 4)
        taught = torch.tensor([True, True, False, False]).expand(5, 4)
        found = distillation(logits, teacher, 1.0, competing=competing, taught=taught)
        soft = F.pad(teacher[:, :2].softmax(1), (0, 1))
        torch.testing.assert_close(found, F.cross_entropy(logits[:, :3], soft))

    def test_old_predictions_on_new_data_stay(self) -> None:
        tasks = clouds(2)
        drift = {}
        for strength in (0.0, 5.0):
            method = LwF(problem(tasks, lr=0.02), strength=strength)
            train_on(method, 0, tasks)
            before = method.predict(first_batch(tasks[1]).x, 0).softmax(1)
            train_on(method, 1, tasks)
            after = method.predict(first_batch(tasks[1]).x, 0).softmax(1)
            drift[strength] = float((before - after).abs().mean())
        assert drift[5.0] < 0.3 * drift[0.0]

    def test_one_pass_gives_loss_and_distillation(self) -> None:
        """Against both, computed apart; the losses of two old heads are added."""
        tasks = clouds(3)
        method = LwF(problem(tasks, lr=0.02), strength=0.7, temperature=1.5)
        for task in range(2):
            train_on(method, task, tasks, steps=5)
        old = copy.deepcopy(method.problem.module)
        method.begin(2)
        method.step(first_batch(tasks[2]))
        batch = first_batch(tasks[2])
        now = copy.deepcopy(method.problem.module)
        losses = method.step(batch)
        torch.testing.assert_close(losses["loss"], F.cross_entropy(now(batch.x)[:, 4:], batch.y))
        wanted = sum(
            distillation(now(batch.x)[:, cut], old(batch.x)[:, cut], 1.5)
            for cut in (slice(0, 2), slice(2, 4))
        )
        torch.testing.assert_close(losses["penalty"], 0.7 * wanted)

    def test_padding_is_not_distilled(self) -> None:
        """A network that answers at each step, with one target per sequence or step."""
        for per_step in (False, True):
            tasks = padded_sequences(per_step=per_step)
            method = LwF(problem(tasks, module=nn.Linear(3, 4)), strength=1.0, temperature=1.0)
            train_on(method, 0, tasks, steps=3)
            method.begin(1)
            old = copy.deepcopy(method.problem.module)
            with torch.no_grad():
                method.problem.module.weight.add_(0.1)  # type: ignore[operator]
            batch = first_batch(tasks[1])
            now = copy.deepcopy(method.problem.module)
            penalty = method.step(batch)["penalty"]
            rows = torch.arange(len(batch))
            assert batch.lengths is not None
            ends = batch.lengths - 1
            picked = [
                net(batch.x)[torch.arange(4) < batch.lengths[:, None]]
                if per_step
                else net(batch.x)[rows, ends]
                for net in (now, old)
            ]
            wanted = distillation(picked[0][:, :2], picked[1][:, :2], 1.0)
            torch.testing.assert_close(penalty, wanted)


def padded_sequences(*, per_step: bool) -> list[Task]:
    """Two tasks of sequences of one to four steps, whose padding is large."""
    made = []
    for number in range(2):
        generator = torch.Generator().manual_seed(number)
        lengths = torch.randint(1, 5, (40,), generator=generator)
        x = torch.randn(40, 4, 3, generator=generator)
        x[torch.arange(4) >= lengths[:, None]] = 100.0
        y = (x[..., number] > 0).long() if per_step else (x[:, 0, number] > 0).long()
        made.append(sequence_task(number, x, y, lengths))
    return made


class TestMasking:
    """Context-dependent gating."""

    def test_a_share_of_hidden_units_is_silent_and_does_not_learn(self) -> None:
        tasks = clouds(2)
        hidden, out = nn.Linear(4, 20), nn.Linear(20, 4)
        made = problem(tasks, module=nn.Sequential(hidden, nn.Sigmoid(), out))
        method = Masking(made, gated=0.7)
        silent = []
        for task in range(2):
            method.begin(task)
            method.step(first_batch(tasks[task]))
            assert hidden.weight.grad is not None
            still = (hidden.weight.grad == 0).all(dim=1)
            assert int(still.sum()) == 14
            assert out.weight.grad is not None
            assert torch.equal((out.weight.grad == 0).all(dim=0), still)
            silent.append(still)
        assert not torch.equal(*silent)

    def test_channels_of_convolutions_are_gated_as_a_whole(self) -> None:
        tasks = clouds(1, features=16)
        convolutions = nn.Sequential(
            nn.Unflatten(1, (1, 4, 4)),
            nn.Conv2d(1, 10, 1),
            nn.Conv2d(10, 3, 1),
            nn.Flatten(),
            nn.Linear(48, 2),
        )
        method = Masking(problem(tasks, module=convolutions), gated=0.5)
        seen: list[torch.Tensor] = []
        convolutions[2].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        method.predict(first_batch(tasks[0]).x, 0)
        channels = seen[0].abs().sum(dim=(0, 2, 3))
        assert int((channels == 0).sum()) == 5

    def test_a_network_without_hidden_units_is_refused(self) -> None:
        tasks = clouds(2)
        with pytest.raises(ConfigError, match="no such layers"):
            Masking(problem(tasks, module=nn.Linear(4, 4)))

    def test_the_module_itself_has_no_masks(self) -> None:
        tasks = clouds(2)
        made = problem(tasks)
        x = first_batch(tasks[0]).x
        before = made.module(x)
        method = Masking(made)
        method.begin(0)
        assert not torch.allclose(method.predict(x, 0), before[:, :2])
        assert torch.equal(made.module(x), before)
        assert not made.module[2]._forward_pre_hooks  # type: ignore[index]

    def test_masks_follow_the_seed_of_the_run_unless_they_have_their_own(self) -> None:
        tasks = clouds(1)
        x = first_batch(tasks[0]).x

        def outputs(seed: int, **options: Any) -> torch.Tensor:
            made = dataclasses.replace(problem(tasks), seed=seed)
            return Masking(made, **options).predict(x, 0)

        assert torch.equal(outputs(1), outputs(1))
        assert not torch.allclose(outputs(0), outputs(1))
        assert torch.equal(outputs(0, mask_seed=5), outputs(1, mask_seed=5))

    def test_the_task_must_be_given(self) -> None:
        with pytest.raises(SpecError, match="each task has its own units"):
            Masking(problem(clouds(1))).predict(torch.zeros(1, 4))


def problem_module(tasks: Any) -> nn.Module:
    """The network of `problem`, with other weights."""
    features, outputs = tasks[0].spec.in_shape[0], 2 * len(tasks)
    return nn.Sequential(nn.Linear(features, 20), nn.ReLU(), nn.Linear(20, outputs))


def same(first: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


class TestSeparate:
    """A network for each task."""

    def test_later_tasks_do_not_touch_earlier_networks(self) -> None:
        tasks = clouds(3)
        method = Separate(problem(tasks))
        train_on(method, 0, tasks)
        before = method.predict(first_batch(tasks[0]).x, 0)
        train_on(method, 1, tasks)
        assert torch.equal(method.predict(first_batch(tasks[0]).x, 0), before)

    def test_members_start_apart_and_their_mean_answers(self) -> None:
        tasks = clouds(1)
        made = problem(tasks)
        again = dataclasses.replace(made, make=lambda: problem_module(tasks))
        torch.manual_seed(1)
        method = Separate(again, members=3)
        method.begin(0)
        assert same(method.networks[0][0], made.module)  # type: ignore[index]
        (found,) = method.predict_each(first_batch(tasks[0]).x, [0])
        assert found.shape == (3, 20, 2)
        assert not torch.allclose(found[0], found[1])
        answer = method.predict(first_batch(tasks[0]).x, 0)
        torch.testing.assert_close(answer.exp(), found.softmax(-1).mean(0))

    def test_a_given_network_starts_every_task_as_it_was_given(self) -> None:
        tasks = clouds(2)
        made = problem(tasks)
        given = copy.deepcopy(made.module)
        method = Separate(made)
        train_on(method, 0, tasks)
        method.begin(1)
        assert same(method.networks[1][0], given)  # type: ignore[index]
        with pytest.raises(ConfigError, match="members: 3 networks would all start as the module"):
            Separate(made, members=3)
        # A function that gives the same network again.
        alike = dataclasses.replace(made, make=lambda: made.module)
        with pytest.raises(ConfigError, match="the networks of a task start alike"):
            Separate(alike, members=2).begin(0)
        one = Separate(alike)
        for task in range(2):
            train_on(one, task, tasks)
        assert min(accuracy(one, task, tasks) for task in range(2)) > 90

    def test_networks_start_as_their_function_starts_them(self) -> None:
        """Not as the constructors of their layers would."""
        tasks = clouds(2)

        def make() -> nn.Module:
            module = problem_module(tasks)
            nn.init.constant_(module[0].bias, 7.0)  # type: ignore[index]
            return module

        method = Separate(dataclasses.replace(problem(tasks), make=make))
        method.begin(0)
        method.begin(1)
        assert bool((method.networks[1].get_parameter("0.0.bias") == 7.0).all())

    def test_an_unknown_task_is_refused(self) -> None:
        method = Separate(problem(clouds(1)))
        with pytest.raises(SpecError, match="must be given, or inferred"):
            method.predict(torch.zeros(1, 4))
        with pytest.raises(SpecError, match="begin a task before the first step"):
            method.step(first_batch(clouds(1)[0]))


def test_joint_training_tells_the_classes_of_all_tasks_apart() -> None:
    tasks = clouds(3)
    method = Joint(problem(tasks, "growing", "class", lr=0.02))
    for task in range(3):
        train_on(method, task, tasks)
    for task, one in enumerate(tasks):
        batch = first_batch(one)
        answers = method.predict(batch.x).argmax(dim=1)
        assert ((answers == batch.y + 2 * task).float().mean()) > 0.9


@pytest.mark.parametrize("selection", ["reservoir", "ring", "herding"])
def test_replay_remembers_in_a_growing_head(selection: Any) -> None:
    tasks = clouds(3)
    method = Replay(problem(tasks, "growing", "class", lr=0.02), budget=30, selection=selection)
    for task in range(3):
        train_on(method, task, tasks)
    batch = first_batch(tasks[0])
    assert (method.predict(batch.x).argmax(dim=1) == batch.y).float().mean() > 0.8


def test_generated_samples_stand_for_the_data_of_each_task() -> None:
    """Their mean is near that of their own task, and far from the other's."""
    tasks = clouds(2, size=200)
    options: Any = {"hidden": (32,), "latent": 3, "likelihood": "gaussian", "decoder": HMLP}
    method = GenerativeReplay(problem(tasks, "growing", "class", lr=0.01), **options)
    for task in range(2):
        train_on(method, task, tasks, steps=300)
    torch.manual_seed(0)
    x, ids = method.vae.sample([0, 1], 200)
    means = torch.stack([x[ids == task].mean(0) for task in range(2)])
    truth = torch.stack([first_batch(task, 200).x.mean(0) for task in tasks])
    distances = torch.cdist(means, truth)
    assert distances[0, 0] < 0.5 * distances[0, 1]
    assert distances[1, 1] < 0.5 * distances[1, 0]
    batch = first_batch(tasks[0], 200)
    assert (method.predict(batch.x).argmax(dim=1) == batch.y).float().mean() > 0.8


def test_inputs_between_zero_and_one_are_bernoulli() -> None:
    tasks = clouds(1)
    assert not GenerativeReplay(problem(tasks)).vae.bernoulli
    for task in tasks:
        task.train.samples.x.sigmoid_()  # type: ignore[attr-defined]
    assert GenerativeReplay(problem(tasks)).vae.bernoulli


class TestHypernet:
    """Options of the hypernetwork method beyond those of its steps."""

    def normed(self) -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))

    def test_distilled_statistics_are_generated_and_used(self) -> None:
        tasks = clouds(2)
        made = problem(tasks, "single", module=self.normed(), lr=0.01)
        method = Hypernet(made, hnet=HMLP, statistics="distilled")
        for task in range(2):
            train_on(method, task, tasks, steps=400)
        x, net = first_batch(tasks[0]).x, method.net
        for task in range(2):
            flat = method.hypernet(task).flat.detach()
            assert float(method.network.distillation(flat, task)) < 0.05
        before = method.predict(x, 0)
        for buffer in net.bank.buffers():
            if buffer.is_floating_point():
                buffer.fill_(7.0)  # nobody reads the bank in evaluation
        assert torch.equal(method.predict(x, 0), before)
        assert accuracy(method, 0, tasks) > 90

    def test_shared_statistics_are_those_of_one_condition(self) -> None:
        tasks = clouds(2)
        made = problem(tasks, "single", module=self.normed())
        method = Hypernet(made, hnet=HMLP, statistics="shared")
        for task in range(2):
            train_on(method, task, tasks, steps=5)
        assert method.net.bank.ids.tolist() == [0]

    def test_statistics_need_a_batch_norm(self) -> None:
        with pytest.raises(ConfigError, match="no batch norm to distil"):
            Hypernet(problem(clouds(1)), hnet=HMLP, statistics="distilled")

    def test_heads_of_later_tasks_stay_free(self) -> None:
        tasks = clouds(2)
        protect = Protection(used_heads=True, beta=1.0)
        method = Hypernet(problem(tasks, "multi"), hnet=HMLP, protect=protect)
        train_on(method, 0, tasks, steps=5)
        method.begin(1)
        regularizer = method._steps.regularizer  # type: ignore[union-attr]
        assert regularizer is not None
        flat = method.hypernet([0]).flat.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(regularizer.penalty(flat + 1.0, [0]), flat)
        weight = gradient[0, -4 - 80 : -4].view(4, 20)
        assert (weight[:2] != 0).all()
        assert (weight[2:] == 0).all()
        assert gradient[0, -4:].ne(0).tolist() == [True, True, False, False]

    def test_each_task_counts_as_its_scale_says(self) -> None:
        tasks = clouds(3)
        found = []
        for scale in (None, (3.0, 0.5)):
            protect = Protection(scale=scale, beta=1.0)
            method = Hypernet(problem(tasks, "single"), hnet=HMLP, protect=protect)
            method.begin(0)
            method.begin(1)
            method.begin(2)
            regularizer = method._steps.regularizer  # type: ignore[union-attr]
            assert regularizer is not None
            targets = regularizer.targets([0, 1])
            found.append(regularizer.penalty(targets + torch.tensor([[1.0], [2.0]]), [0, 1]))
        size = targets.shape[1]
        torch.testing.assert_close(found[0], torch.tensor(size * (1.0 + 4.0) / 2))
        torch.testing.assert_close(found[1], torch.tensor(size * (3.0 + 2.0) / 2))

    def test_a_scale_for_too_few_tasks_is_named(self) -> None:
        with pytest.raises(ConfigError, match="2 numbers are needed"):
            Hypernet(problem(clouds(3)), hnet=HMLP, protect=Protection(scale=(1.0,)))

    def test_all_tasks_go_through_the_network_together(self) -> None:
        tasks = clouds(3)
        method = Hypernet(problem(tasks, "single"), hnet=HMLP)
        x = first_batch(tasks[0]).x
        for found, task in zip(method.predict_each(x, [0, 1, 2]), range(3), strict=True):
            torch.testing.assert_close(found[0], method.predict(x, task), atol=1e-5, rtol=1e-5)


def test_statistics_of_each_task_are_its_own() -> None:
    """With one network for all, the normalisation of a task stays as it was."""
    tasks = clouds(2)
    module = TestHypernet().normed()
    wide = nn.Sequential(*list(module)[:3], nn.Linear(6, 4))
    method = Finetune(problem(tasks, module=wide), statistics="per_task")
    train_on(method, 0, tasks, steps=10)
    bank = method.network.bank
    assert bank is not None
    own = bank.own(wide)
    before = copy.deepcopy({name: row.clone() for name, row in bank.rows(0, own).items()})
    train_on(method, 1, tasks, steps=10)
    after = bank.rows(0, own)
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(ConfigError, match="statistics=per_task needs to know the task"):
        Finetune(problem(tasks, "growing", "class"), statistics="per_task")
