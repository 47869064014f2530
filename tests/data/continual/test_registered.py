from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from hypnet_core.errors import ConfigError, HypnetError
from hypnet_core.plugins import DatasetChoice, registry
from hypnet_core.tasks import TaskSequence
from hypnet_data import permuted, permuted_digits, split, split_digits


def built(name: str, **options: Any) -> TaskSequence:
    """Build a dataset as a configuration does."""
    sequence: TaskSequence = DatasetChoice(name=name, **options).build()
    return sequence


def assert_same(one: TaskSequence, other: TaskSequence) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.spec.out_shape == b.spec.out_shape
        for name, part in a.splits.items():
            batch, expected = next(part.batches(50)), next(b.splits[name].batches(50))
            assert torch.equal(batch.x, expected.x)
            assert torch.equal(batch.y, expected.y)
            assert torch.equal(batch.ids, expected.ids)


def test_by_default_both_wrap_the_small_digits() -> None:
    assert_same(split(), built("split"))
    assert_same(permuted(), built("permuted"))
    assert_same(permuted(), permuted_digits())


def test_the_dataset_is_chosen_by_name_with_its_options_beside_it() -> None:
    tasks = built(
        "split",
        data={"name": "digits", "validation_size": 0},
        classes_per_task=5,
        validation_size=40,
    )
    assert [task.spec.labels for task in tasks] == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)]
    assert all(task.val is not None and len(task.val) == 40 for task in tasks)
    assert_same(
        built("permuted", data={"name": "digits", "normalize": True}, tasks=2),
        permuted_digits(tasks=2, normalize=True),
    )


def test_a_component_of_any_plugin_may_be_wrapped_by_its_full_name() -> None:
    assert_same(built("split", data="data:digits"), split())


def test_a_mistake_in_the_options_of_the_wrapped_dataset_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data.*validation_sise"):
        built("split", data={"name": "digits", "validation_sise": 3})
    with pytest.raises(HypnetError, match=r"didgits.*digits"):
        built("permuted", data="didgits")


def test_only_single_classification_tasks_can_be_wrapped() -> None:
    regression: Any = "toy_regression"
    sequence: Any = "split_digits"
    with pytest.raises(ConfigError, match="'toy_regression' is a regression task"):
        split(data=regression)
    with pytest.raises(ConfigError, match="'split_digits' is a TaskSequence, not a single task"):
        permuted(data=sequence)


def test_the_options_can_be_written_down_and_read_again() -> None:
    choice = DatasetChoice(name="permuted", data={"name": "digits", "validation_size": 9}, tasks=2)
    again = DatasetChoice(**json.loads(choice.model_dump_json()))
    assert again == choice
    assert_same(again.build(), choice.build())


def test_tasks_may_have_heads_of_their_own() -> None:
    tasks = split_digits(separate_heads=True, target_padding=1)
    assert [task.spec.out_shape for task in tasks] == [(11,)] * 5
    assert [sorted(set(next(task.test.batches(500)).y.tolist())) for task in tasks] == [
        [2 * n, 2 * n + 1] for n in range(5)
    ]
    assert tasks[3].spec.labels == tuple(range(10))
    shared = split_digits(order=(9, 8, 7, 6, 5, 4, 3, 2, 1, 0), separate_heads=True)
    assert shared[0].spec.labels == (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
    with pytest.raises(ConfigError, match="exclude each other"):
        split_digits(separate_heads=True, full_out_dim=True)


def test_the_shell_shows_what_can_be_wrapped_without_loading_torch() -> None:
    code = (
        "import sys; from hypnet_core.plugins.registry import registry; registry().get('dataset',"
        " 'permuted'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert registry().get("dataset", "permuted").component.summary
