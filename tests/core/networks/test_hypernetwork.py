from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnet_core import ConditionSpec, HyperNetwork, TargetSpec
from hypnet_core.errors import ConditionError, SpecError
from hypnet_core.protocols import HyperNetworkLike

TARGET = TargetSpec.from_shapes([[10, 5], [10]])


class Linear(HyperNetwork):
    """A linear hypernetwork whose conditions also own a matrix."""

    def __init__(self, conditions: ConditionSpec, *, conditional: Any = None) -> None:
        super().__init__(TARGET, conditions, conditional=conditional)
        self.head = nn.Linear(sum(self.input_sizes.values()), TARGET.numel)

    def generate(self, inputs: Tensor) -> Tensor:
        weights: Tensor = self.head(inputs)
        return weights


@pytest.fixture
def hypernet() -> Linear:
    torch.manual_seed(0)
    return Linear(ConditionSpec(count=4, size=3))


@pytest.fixture
def mixed() -> Linear:
    """Embedding, unconditional input and a further conditional parameter."""
    torch.manual_seed(0)
    return Linear(ConditionSpec(count=4, size=3, input_size=2), conditional={"matrix": (2, 2)})


def test_it_fulfils_the_protocol(hypernet: Linear) -> None:
    assert isinstance(hypernet, HyperNetworkLike)


def test_an_id_gives_one_set_of_weights_and_a_batch_of_ids_a_batch(hypernet: Linear) -> None:
    assert hypernet(2).batch_shape == ()
    assert hypernet(torch.tensor(2)).batch_shape == ()
    assert hypernet([2]).batch_shape == (1,)
    for ids in ([3, 0, 3], (3, 0, 3), torch.tensor([3, 0, 3])):
        torch.testing.assert_close(
            hypernet(ids).flat, torch.stack([hypernet(i).flat for i in (3, 0, 3)])
        )


def test_an_embedding_may_come_from_the_caller(hypernet: Linear) -> None:
    torch.testing.assert_close(hypernet(cond_input=hypernet.embedding(2)).flat, hypernet(2).flat)
    both = torch.stack([hypernet.embedding(1), hypernet.embedding(3)])
    torch.testing.assert_close(hypernet(cond_input=both).flat, hypernet([1, 3]).flat)


def test_the_input_is_embedding_then_unconditional_input_then_further_parameters(
    mixed: Linear,
) -> None:
    u = torch.randn(5, 2)
    inputs, batched = mixed.inputs(1, uncond_input=u)
    assert batched
    assert mixed.input_sizes == {"embedding": 3, "uncond_input": 2, "matrix": 4}
    embedding, matrix = mixed.conditional_parameters(1)
    expected = torch.cat([embedding.expand(5, 3), u, matrix.flatten().expand(5, 4)], dim=1)
    assert torch.equal(inputs, expected)


def test_a_single_vector_is_repeated_for_a_batch_of_ids(mixed: Linear) -> None:
    u = torch.randn(2)
    assert mixed(1, uncond_input=u).batch_shape == ()
    batch = mixed([0, 1], uncond_input=u)
    torch.testing.assert_close(
        batch.flat, torch.stack([mixed(i, uncond_input=u).flat for i in (0, 1)])
    )


def test_some_conditional_inputs_may_be_given_and_others_looked_up(mixed: Linear) -> None:
    u, matrix = torch.randn(2), torch.randn(6, 2, 2)
    weights = mixed(1, cond_input={"matrix": matrix}, uncond_input=u)
    assert weights.batch_shape == (6,)
    expected = mixed(
        cond_input={"embedding": mixed.embedding(1), "matrix": matrix[4]}, uncond_input=u
    )
    torch.testing.assert_close(weights.index(4).flat, expected.flat)


def test_a_hypernetwork_without_embeddings_lives_on_given_ones() -> None:
    hypernet = Linear(ConditionSpec(count=0, size=3))
    assert hypernet.conditional_parameters() == []
    assert hypernet(cond_input=torch.randn(7, 3)).batch_shape == (7,)
    with pytest.raises(ConditionError, match="pass cond_input"):
        hypernet(0)
    with pytest.raises(ConditionError, match="pass cond_input= for 'embedding'"):
        hypernet()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"condition": 4}, "there is no condition 4: there are 4 (0 to 3)"),
        ({"condition": [0, -1]}, "there is no condition -1"),
        ({"condition": 1.5}, "a condition is a whole number, got 1.5"),
        ({"condition": True}, "a condition is a whole number, got True"),
        ({"condition": []}, "the batch of conditions is empty"),
        ({}, "pass condition= (0 to 3) or cond_input="),
        ({"condition": 1, "cond_input": torch.zeros(3)}, "pass one of them"),
        ({"cond_input": torch.zeros(4)}, "cond_input must have shape [3] or [B, 3], got [4]"),
        ({"cond_input": {"embeding": torch.zeros(3)}}, "did you mean 'embedding'"),
        ({"condition": 1, "uncond_input": torch.zeros(2)}, "takes no uncond_input"),
    ],
)
def test_a_wrong_condition_is_named(
    hypernet: Linear, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConditionError) as error:
        hypernet(**arguments)
    assert message in str(error.value)


def test_missing_and_uneven_inputs_are_named(mixed: Linear) -> None:
    with pytest.raises(ConditionError, match="uncond_input of size 2 is missing"):
        mixed(1)
    with pytest.raises(ConditionError, match="different batch sizes: 2, 3"):
        mixed([0, 1], uncond_input=torch.zeros(3, 2))


def test_a_gradient_reaches_the_parameters_of_the_condition_and_no_other(mixed: Linear) -> None:
    mixed([1, 3], uncond_input=torch.randn(2)).flat.sum().backward()
    touched = {
        i for i in range(4) if all(p.grad is not None for p in mixed.conditional_parameters(i))
    }
    untouched = {
        i for i in range(4) if all(p.grad is None for p in mixed.conditional_parameters(i))
    }
    assert (touched, untouched) == ({1, 3}, {0, 2})


def test_conditional_and_unconditional_parameters_are_a_partition(mixed: Linear) -> None:
    conditional, unconditional = mixed.conditional_parameters(), mixed.unconditional_parameters()
    assert {id(p) for p in conditional} | {id(p) for p in unconditional} == {
        id(p) for p in mixed.parameters()
    }
    assert not {id(p) for p in conditional} & {id(p) for p in unconditional}
    assert len(conditional) == 8
    groups = mixed.parameter_groups()
    assert groups["unconditional"] == ["head.weight", "head.bias"]


def test_a_condition_can_be_added_while_training(hypernet: Linear) -> None:
    optimizer = torch.optim.Adam(
        [hypernet.head.weight, *hypernet.conditional_parameters(3)], lr=0.1
    )
    before = [hypernet(i).flat.detach() for i in range(4)]
    new = hypernet.double().add_condition()
    hypernet.float()
    assert (new, hypernet.conditions.count) == (4, 5)
    assert len(hypernet.conditional_parameters()) == 5
    for i in range(4):
        torch.testing.assert_close(hypernet(i).flat, before[i])
    optimizer.add_param_group({"params": hypernet.conditional_parameters(new)})
    start = hypernet.embedding(new).detach().clone()
    hypernet(new).flat.sum().backward()
    optimizer.step()
    assert not torch.equal(start, hypernet.embedding(new))


def test_a_new_condition_has_the_dtype_of_the_others(hypernet: Linear) -> None:
    hypernet.double().add_condition()
    assert hypernet.embedding(4).dtype == torch.float64


def test_a_checkpoint_with_added_conditions_loads_into_a_new_hypernetwork(hypernet: Linear) -> None:
    hypernet.add_condition()
    fresh = Linear(ConditionSpec(count=4, size=3))
    fresh.load_state_dict(hypernet.state_dict())
    assert fresh.conditions.count == 5
    torch.testing.assert_close(fresh(4).flat, hypernet(4).flat)


def test_embeddings_start_as_standard_normal_draws() -> None:
    torch.manual_seed(0)
    hypernet = Linear(ConditionSpec(count=200, size=50))
    draws = torch.stack(list(hypernet.conditional_parameters()))
    assert abs(draws.mean()) < 0.05
    assert abs(draws.std() - 1) < 0.05


def test_an_empty_target_and_a_wrong_generate_are_refused() -> None:
    class Short(HyperNetwork):
        def generate(self, inputs: Tensor) -> Tensor:
            return inputs

    with pytest.raises(SpecError, match="holds no weights"):
        HyperNetwork(TargetSpec(params=()), ConditionSpec())
    with pytest.raises(SpecError, match=r"Short.generate must return \[1, 60\], got \[1, 8\]"):
        Short(TARGET, ConditionSpec())(0)
    with pytest.raises(NotImplementedError, match="must implement generate"):
        HyperNetwork(TARGET, ConditionSpec())(0)
    with pytest.raises(ConditionError, match="have no embedding"):
        Linear(ConditionSpec(count=1, size=0, input_size=2)).embedding(0)
