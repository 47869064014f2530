from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core.errors import SpecError
from hypnet_zoo.losses import accuracy, cross_entropy, distillation


def test_accuracy_counts_labels_one_hot_and_soft_targets_alike() -> None:
    logits = torch.tensor([[0.1, 2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 3.0], [5.0, 0.0, 1.0]])
    labels = torch.tensor([1, 2, 2, 0])
    one_hot = torch.eye(3)[labels]
    for targets in (labels, one_hot, 0.7 * one_hot + 0.1):
        assert accuracy(logits, targets).item() == 0.75


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_with_soft_targets_is_the_sum_written_out(reduction: Any) -> None:
    torch.manual_seed(0)
    logits, soft = torch.randn(5, 3), torch.softmax(torch.randn(5, 3), 1)
    each = -(soft * logits.log_softmax(1)).sum(1)
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    torch.testing.assert_close(cross_entropy(logits, soft, reduction=reduction), expected)
    hard = nn.functional.cross_entropy(logits, soft.argmax(1), reduction=reduction)
    torch.testing.assert_close(cross_entropy(logits, soft, reduction=reduction, hard=True), hard)
    torch.testing.assert_close(cross_entropy(logits, soft.argmax(1), reduction=reduction), hard)


def test_distillation_gives_classes_that_the_teacher_does_not_know_no_probability() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 5), torch.randn(4, 3)
    targets = torch.zeros(4, 5)
    targets[:, [0, 4, 2]] = torch.softmax(teacher / 3, 1)
    expected = -(targets * torch.log_softmax(student / 3, 1)).sum(1).mean() * 9
    torch.testing.assert_close(
        distillation(student, teacher, temperature=3.0, mapping=[0, 4, 2]), expected
    )


def test_a_student_that_equals_its_teacher_has_nothing_to_learn() -> None:
    logits = torch.randn(4, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(distillation(logits, logits.detach()), logits)
    torch.testing.assert_close(gradient, torch.zeros(4, 5), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy(torch.zeros(3, 2), torch.zeros(2)), r"expected outputs \[N, classes\]"),
        (lambda: cross_entropy(torch.zeros(3), torch.zeros(3)), r"expected outputs \[N, classes\]"),
        (lambda: distillation(torch.zeros(1, 3), torch.zeros(1, 2)), "give a mapping"),
        (
            lambda: distillation(torch.zeros(1, 3), torch.zeros(1, 2), mapping=[0]),
            "2 different outputs",
        ),
        (
            lambda: distillation(torch.zeros(1, 3), torch.zeros(1, 2), mapping=[0, 3]),
            "between 0 and 2",
        ),
        (
            lambda: distillation(torch.zeros(1, 3), torch.zeros(1, 3), temperature=0),
            "temperature must be positive",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        call()


def test_distillation_from_another_number_of_samples_is_named() -> None:
    with pytest.raises(
        SpecError, match=r"as many samples as the teacher's, got \[4, 3\] and \[1, 3\]"
    ):
        distillation(torch.zeros(4, 3), torch.zeros(1, 3))


def test_whole_numbers_of_any_dtype_are_labels_and_one_hot_targets() -> None:
    logits, labels = torch.randn(6, 3, dtype=torch.double), torch.randint(3, (6,))
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(cross_entropy(logits, labels.int()), expected)
    torch.testing.assert_close(
        cross_entropy(logits, torch.nn.functional.one_hot(labels, 3)), expected
    )
    torch.testing.assert_close(
        cross_entropy(logits, torch.nn.functional.one_hot(labels, 3).float()), expected
    )
    with pytest.raises(SpecError, match=r"labels must be whole numbers, got torch.float32"):
        cross_entropy(logits, labels.float())
