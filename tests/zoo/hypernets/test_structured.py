"""Chunks that respect layers: assembly, templates, recipes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from hypnet_core import ConditionSpec, MainNetwork, TargetSpec
from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.plugins import HypernetChoice
from hypnet_zoo.hypernets import (
    Chunking,
    StructuredHMLP,
    by_shape,
    economical_ensemble,
    resnet,
    structured_hmlp,
    wide_resnet,
)
from hypnet_zoo.init import Init
from hypnet_zoo.mainnets import ResNet, WideResNet

# The last two tensors are twice as large as the two before them, so two chunks make
# them.
TARGET = TargetSpec.from_shapes([[3], [3], [10, 5], [10], [20, 5], [20]])
GROUPS: Any = [
    {"shapes": [[3]], "count": 2, "embedding_size": 4},
    {"shapes": [[10, 5], [10]], "count": 3, "embedding_size": 6, "options": {"hidden": [7]}},
]
ASSEMBLY: Any = {
    "0": {"pieces": [[0, 0, 0]]},
    "1": {"pieces": [[0, 1, 0]]},
    "2": {"pieces": [[1, 0, 0]]},
    "3": {"pieces": [[1, 0, 1]]},
    "4": {"pieces": [[1, 1, 0], [1, 2, 0]]},
    "5": {"pieces": [[1, 1, 1], [1, 2, 1]]},
}


def wrong(value: Any) -> Any:
    """A value of a type that checkers would refuse."""
    return value


def made(groups: Any, assembly: Any = ()) -> Chunking:
    """From plain data, as a configuration has it."""
    return Chunking.model_validate({"groups": groups, "assembly": dict(assembly)})


def document() -> Chunking:
    return made(GROUPS, ASSEMBLY)


def by_function(chunks: list[list[Tensor]]) -> list[Tensor]:
    result = [*chunks[0], *chunks[1], *chunks[2]]
    result += [
        torch.cat([one, other], dim=1) for one, other in zip(chunks[3], chunks[4], strict=True)
    ]
    return result


@pytest.mark.parametrize("conditional_chunks", [False, True])
def test_the_weights_are_those_of_a_slow_loop_over_chunks(conditional_chunks: bool) -> None:
    torch.manual_seed(0)
    hypernet = StructuredHMLP(
        TARGET,
        ConditionSpec(count=2, size=3, input_size=2),
        document(),
        conditional_chunks=conditional_chunks,
    ).double()
    noise = torch.randn(2, dtype=torch.float64)
    written = [
        inner(cond_input=torch.cat([hypernet.embedding(1), noise, c]))
        for inner, embeddings in zip(hypernet.hmlps(), hypernet.chunk_embeddings(1), strict=True)
        for c in embeddings
    ]
    a, b, c, d, e = (list(chunk.values()) for chunk in written)
    expected = [a[0], b[0], c[0], c[1], torch.cat([d[0], e[0]]), torch.cat([d[1], e[1]])]
    for weights in (hypernet(1, uncond_input=noise), hypernet([0, 1], uncond_input=noise).index(1)):
        for tensor, wanted in zip(weights.values(), expected, strict=True):
            torch.testing.assert_close(tensor, wanted)


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": []},
        {"hidden": [], "spectral_norm": True},
        {"spectral_norm": True},
        {"batch_norm": True},
        {"dropout": 0.3},
    ],
    ids=str,
)
def test_a_batch_of_conditions_equals_one_by_one(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    chunking = made([{**group, "options": options} for group in GROUPS], ASSEMBLY)
    hypernet = StructuredHMLP(TARGET, ConditionSpec(count=3, size=3), chunking).eval().double()
    torch.testing.assert_close(
        hypernet([2, 0]).flat, torch.stack([hypernet(2).flat, hypernet(0).flat])
    )


def test_a_function_assembles_what_a_document_does() -> None:
    torch.manual_seed(0)
    conditions = ConditionSpec(count=3)
    one = StructuredHMLP(TARGET, conditions, document())
    other = StructuredHMLP(TARGET, conditions, made(GROUPS), assemble=by_function)
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(one([0, 1, 2]).flat, other([0, 1, 2]).flat, rtol=0, atol=0)
    assert one.starts == other.starts
    assert {piece: [p.name for p in params] for piece, params in one.assembly.parts.items()} == {
        piece: [p.name for p in params] for piece, params in other.assembly.parts.items()
    }


def test_pieces_are_laid_along_any_dimension() -> None:
    target = TargetSpec.from_shapes([[4, 6, 2]])
    chunking = made(
        [{"shapes": [[4, 2, 2]], "count": 3}], {"0": {"pieces": [[0, 0], [0, 2], [0, 1]], "dim": 1}}
    )
    hypernet = StructuredHMLP(target, ConditionSpec(), chunking)
    row = hypernet.embedding(0)
    parts = [
        hypernet.hmlps()[0](cond_input=torch.cat([row, c]))["0"]
        for c in hypernet.all_chunk_embeddings()[0]
    ]
    torch.testing.assert_close(hypernet(0)["0"], torch.cat([parts[0], parts[2], parts[1]], dim=1))


def test_templates_are_combined_linearly_with_the_embeddings_as_coefficients() -> None:
    torch.manual_seed(0)
    target = TargetSpec.from_shapes([[4, 5], [4, 5], [4, 5]])
    chunking = by_shape(target, embedding_size=2, hidden=(), bias=False)
    hypernet = StructuredHMLP(
        target, ConditionSpec(count=1, size=0), chunking, conditional_chunks=True
    )
    (head,) = hypernet.hmlps()[0].linear_heads()
    templates = head.weight.t().reshape(2, 4, 5)
    (coefficients,) = hypernet.conditional_parameters(0)
    for k, tensor in enumerate(hypernet(0).values()):
        torch.testing.assert_close(
            tensor, coefficients[k, 0] * templates[0] + coefficients[k, 1] * templates[1]
        )
    assert sum(p.numel() for p in hypernet.parameters()) == 2 * 20 + 3 * 2


def test_a_gradient_reaches_the_chunks_of_its_condition_and_no_other() -> None:
    hypernet = StructuredHMLP(
        TARGET, ConditionSpec(count=3, size=2), document(), conditional_chunks=True
    )
    hypernet(1)["4"].sum().backward()
    for condition in range(3):
        embedding, small, large = hypernet.conditional_parameters(condition)
        assert small.grad is None or small.grad.abs().max() == 0
        assert (large.grad is not None) == (embedding.grad is not None) == (condition == 1)
    large = hypernet.chunk_embeddings(1)[1]
    assert large.grad is not None
    assert [bool(row.abs().max() > 0) for row in large.grad] == [False, True, True]


def test_chunk_embeddings_may_come_from_the_caller() -> None:
    hypernet = StructuredHMLP(
        TARGET, ConditionSpec(count=0, size=0), document(), conditional_chunks=True
    )
    one, two = torch.randn(4, 2, 4), torch.randn(4, 3, 6)
    batch = hypernet(cond_input={"chunks_0": one, "chunks_1": two})
    assert batch.batch_shape == (4,)
    torch.testing.assert_close(
        batch.index(3).flat, hypernet(cond_input={"chunks_0": one[3], "chunks_1": two[3]}).flat
    )


def test_a_single_chunk_needs_no_embedding() -> None:
    target = TargetSpec.from_shapes([[4, 3], [2, 4], [2, 4]])
    chunking = made(
        [{"shapes": [[4, 3]], "embedding_size": 0}, {"shapes": [[2, 4]], "count": 2}],
        {"0": {"pieces": [[0, 0]]}, "1": {"pieces": [[1, 0]]}, "2": {"pieces": [[1, 1]]}},
    )
    hypernet = StructuredHMLP(
        target, ConditionSpec(count=2, size=3), chunking, conditional_chunks=True
    )
    assert list(hypernet.conditional_shapes) == ["embedding", "chunks_1"]
    assert hypernet([0, 1]).flat.shape == (2, 28)
    with pytest.raises(SpecError, match="group 0 has no input"):
        StructuredHMLP(target, ConditionSpec(count=2, size=0), chunking, conditional_chunks=True)


def test_everything_starts_at_zero_and_gradients_reach_the_heads() -> None:
    hypernet = StructuredHMLP(TARGET, ConditionSpec(count=2), document())
    hypernet.start_at_zero()
    weights = hypernet([0, 1]).flat
    assert weights.abs().max() == 0
    weights.sum().backward()
    for inner in hypernet.hmlps():
        for head in inner.linear_heads():
            assert head.weight.grad is not None
            assert head.weight.grad.abs().max() > 0


def broken(**changes: Any) -> Any:
    assembly = {**ASSEMBLY, **changes}
    return lambda: made(GROUPS, {k: v for k, v in assembly.items() if v}).check(TARGET)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (broken(**{"4": None}), r"leaves 1 of 6 tensors empty, 100 weights: 4 \[20, 5\]"),
        (
            broken(**{"4": {"pieces": [[1, 1, 0]]}}),
            r"4 \[20, 5\]: its pieces fill 10 of 20 along .* 0: 50 weights are missing",
        ),
        (
            broken(**{"3": {"pieces": [[1, 0, 1], [1, 1, 1]]}}),
            r"3 \[10\]: its pieces fill 20 of 10 .*: 10 weights too many",
        ),
        (
            broken(**{"2": {"pieces": [[1, 0, 1]]}}),
            r"2 \[10, 5\]: the piece \(group 1, .* tensor 1\) of shape \[10\] does not fit",
        ),
        (
            broken(**{"2": {"pieces": [[2, 0, 0]]}}),
            r"no piece \(group 2, chunk 0, tensor 0\): there are 2 groups",
        ),
        (broken(**{"2": {"pieces": [[1, 3, 0]]}}), "there are 3 chunks"),
        (broken(**{"2": {"pieces": [[1, 0, 2]]}}), "there are 2 tensors"),
        (broken(**{"2": {"pieces": [[1, 0, 0]], "dim": 2}}), "has no dimension 2"),
        (
            broken(**{"44": {"pieces": [[1, 0, 0]]}}),
            "fills '44', which is not in the target; did you mean '4'",
        ),
        (
            lambda: made([{"shapes": [[3]], "count": 2, "embedding_size": 0}]).check_groups(),
            "group 0 has 2 chunks: its embedding_size must be positive",
        ),
        (
            lambda: StructuredHMLP(
                TARGET, ConditionSpec(), made(GROUPS), assemble=lambda chunks: chunks[0]
            ),
            "the assembly gives 1 tensors, the target has 6",
        ),
        (
            lambda: StructuredHMLP(
                TARGET,
                ConditionSpec(),
                made(GROUPS),
                assemble=lambda chunks: [
                    *by_function(chunks)[:4],
                    chunks[3][0],
                    by_function(chunks)[5],
                ],
            ),
            r"4 \[20, 5\]: the assembly gives a tensor of shape \[10, 5\]: 50 weights are missing",
        ),
        (
            lambda: StructuredHMLP(
                TARGET,
                ConditionSpec(),
                made(GROUPS),
                assemble=lambda chunks: [2.5 * t for t in by_function(chunks)],
            ),
            "the assembly changes values",
        ),
        (
            lambda: StructuredHMLP(TARGET, ConditionSpec(), document(), assemble=by_function),
            "the assembly of the chunking must be empty",
        ),
        (
            lambda: structured_hmlp(TARGET, ConditionSpec(), chunking="by_shap"),
            "did you mean 'by_shape'",
        ),
        (
            lambda: by_shape(TARGET, embedding_size=-3),
            "embedding_size must be a number from 0, .* got -3",
        ),
        (
            lambda: resnet(TargetSpec.of(ResNet((3, 8, 8), 2, n=1)), embedding_size=wrong("abc")),
            "embedding_size must be a number from 0",
        ),
        (lambda: by_shape(TargetSpec(params=())), "there is nothing to cut"),
        (
            lambda: StructuredHMLP(
                TARGET, ConditionSpec(), made(GROUPS), assemble=wrong(lambda chunks: None)
            ),
            "must give a list of tensors or a mapping, gave a NoneType",
        ),
        (
            lambda: structured_hmlp(TARGET, ConditionSpec(), chunking="math:nothing"),
            "math has no 'nothing'",
        ),
        (
            lambda: structured_hmlp(
                TARGET, ConditionSpec(), chunking="by_shape", chunking_options={"gcd": True}
            ),
            "unexpected keyword argument 'gcd'; it has: embedding_size, hidden, bias",
        ),
        (
            lambda: structured_hmlp(TARGET, ConditionSpec(), chunking="resnet"),
            "not the weights of a residual network",
        ),
        (
            lambda: structured_hmlp(TARGET, ConditionSpec(), chunking="wide_resnet"),
            "not the weights of a residual network",
        ),
        (
            lambda: resnet(TargetSpec.of(ResNet((3, 8, 8), 2, n=1)), embedding_size=(1, 2)),
            "there are 8 groups of chunks, but 2 embedding sizes",
        ),
        (
            lambda: economical_ensemble(TargetSpec.of(WideResNet((3, 8, 8), 2, n=1, k=2))),
            "expected groups of 1, 1, 7, .* of one tensor, got 1, 3, 3, 3, 1, 1, 1, 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


def test_what_is_generated_in_vain_is_warned_of_unless_it_is_a_vector(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = TargetSpec.from_shapes([[20, 5], [10]])
    parts: Any = {"0": {"pieces": [[0, 0, 0], [0, 1, 0]]}, "1": {"pieces": [[0, 0, 1]]}}
    made([{"shapes": [[10, 5], [10]], "count": 2}], parts).check(target)
    assert not caplog.text, "the second chunk's vector repeats the first's"
    made([{"shapes": [[10, 5], [10]], "count": 3}], parts).check(target)
    assert "chunk 2 of group 0 is generated but not used" in caplog.text
    parts = {"0": {"pieces": [[0, 0, 0], [0, 0, 0]]}, "1": {"pieces": [[0, 1, 1]]}}
    made([{"shapes": [[10, 5], [10]], "count": 2}], parts).check(target)
    assert "the piece (group 0, chunk 1, tensor 0) is generated but not used" in caplog.text


def test_a_configuration_holds_the_document_or_the_name() -> None:
    choice = HypernetChoice(
        name="structured_hmlp", chunking=json.loads(document().model_dump_json())
    )
    again = HypernetChoice(**json.loads(choice.model_dump_json()))
    hypernet = again.build(TARGET, ConditionSpec(count=2))
    assert hypernet.num_chunks == 5
    assert hypernet.chunking == document()
    by_name = HypernetChoice(
        name="structured_hmlp", chunking="by_shape", chunking_options={"hidden": [5]}
    )
    assert by_name.build(TARGET, ConditionSpec()).hmlps()[0].trunk[0].out_features == 5
    own = structured_hmlp(
        TARGET,
        ConditionSpec(),
        chunking="hypnet_zoo.hypernets:by_shape",
        chunking_options={"embedding_size": 3},
    )
    assert own.all_chunk_embeddings()[0].shape == (2, 3)
    misspelt = [{**GROUPS[0], "options": {"hiden": [5]}}, GROUPS[1]]
    with pytest.raises(ConfigError, match="there is no such option; did you mean 'hidden'"):
        StructuredHMLP(TARGET, ConditionSpec(), made(misspelt), assemble=by_function)


def groups_of(chunking: Chunking) -> list[tuple[int, list[list[int]]]]:
    return [(group.count, [list(shape) for shape in group.shapes]) for group in chunking.groups]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("gcd", [False, True])
@pytest.mark.parametrize("generate", [None, ["weight"], ["*conv*"], ["*conv*", "*norm*"]])
def test_groups_of_a_resnet(n: int, gcd: bool, generate: Any) -> None:
    net = MainNetwork(ResNet((3, 8, 8), 10, n=n, k=2, conv_bias=True), generate=generate)
    chunking = resnet(net.target, gcd=gcd, hidden=(4,))
    counts = [count for count, _ in groups_of(chunking)]
    output = [1] if generate is None or generate == ["weight"] else []
    if gcd:  # 16 is the divisor of 16, 32, 64 and 128
        assert counts == [1, 2, 2 * (2 * n - 1) + 4, 4 * (2 * n - 1) + 8, 8 * (2 * n - 1), *output]
        vectors = {None: 3, "weight": 0, "*conv*": 1, "*norm*": 3}[
            generate[-1] if generate else None
        ]
        shapes = [[[16, i, 3, 3], *[[16]] * vectors] for i in (16, 32, 64, 128)]
        assert [shape for _, shape in groups_of(chunking)][1:5] == shapes
    else:
        assert counts == [1, 1, 2 * n - 1, 1, 2 * n - 1, 1, 2 * n - 1, *output]
    hypernet = StructuredHMLP(net.target, ConditionSpec(count=2, size=2), chunking)
    assert net(torch.randn(2, 3, 8, 8), weights=hypernet([0, 1])).shape == (2, 2, 10)


def test_the_first_chunk_of_a_resnet_with_biases_and_norms_is_that_of_the_reference() -> None:
    chunking = resnet(TargetSpec.of(ResNet((3, 32, 32), 10, n=5, conv_bias=True)))
    assert groups_of(chunking)[0] == (1, [[16, 3, 3, 3], [16], [16], [16]])
    assert groups_of(chunking)[-1] == (1, [[10, 64], [10]])


@pytest.mark.parametrize("gcd", [False, True])
@pytest.mark.parametrize(("k", "merged"), [(1, True), (2, True), (3, False)])
@pytest.mark.parametrize("generate", [None, ["*conv*", "*shortcut*"]])
def test_groups_of_a_wide_resnet(gcd: bool, k: int, merged: bool, generate: Any) -> None:
    net = MainNetwork(WideResNet((3, 8, 8), 10, n=2, k=k, conv_bias=True), generate=generate)
    chunking = wide_resnet(net.target, gcd=gcd, hidden=(4,))
    counts = [count for count, _ in groups_of(chunking)]
    vectors = [[16 * k]] * (3 if generate is None else 1)
    if k == 3:
        first = [1 + 3 * 3] if gcd else [1, 3]
        assert groups_of(chunking)[1][1] == [[48, 16, 3, 3], *vectors]
    else:
        first = [4] if k == 1 else [1 + 2 * 3]
        assert groups_of(chunking)[1][1] == [[16 * k, 16, 3, 3], *vectors]
    shortcuts = [1] * (2 if k == 1 else 3)
    assert counts == [1, *first, 7, 7, *shortcuts, *([1] if generate is None else [])]
    hypernet = StructuredHMLP(net.target, ConditionSpec(count=2, size=2), chunking)
    assert net(torch.randn(2, 3, 8, 8), weights=hypernet([0, 1])).shape == (2, 2, 10)


def test_norms_stand_with_the_convolution_before_them() -> None:
    chunking = wide_resnet(TargetSpec.of(WideResNet((3, 8, 8), 10, n=2, k=3)))
    (piece,) = chunking.assembly["groups.0.1.norm1.weight"].pieces
    assert chunking.assembly["groups.0.0.conv2.weight"].pieces[0][:2] == piece[:2]
    assert (
        chunking.assembly["norm.weight"].pieces[0][:2]
        == chunking.assembly["groups.2.1.conv2.weight"].pieces[0][:2]
    )


def test_spectral_norms_do_not_hide_the_layers() -> None:
    net = ResNet((3, 8, 8), 10, n=1, spectral_norm=True)
    assert len(resnet(TargetSpec.of(net)).groups) == 8


def test_the_recipe_of_economical_ensembles_has_its_published_numbers() -> None:
    net = MainNetwork(WideResNet((3, 32, 32), 10), generate=["*conv*", "*shortcut*"])
    chunking = economical_ensemble(net.target)
    assert [group.embedding_size for group in chunking.groups] == [10, 7, 14, 14, 14, 7, 7, 7]
    assert [group.count for group in chunking.groups] == [1, 1, 7, 15, 15, 1, 1, 1]
    conditional = sum(group.count * group.embedding_size for group in chunking.groups)
    weights = sum(group.embedding_size * sum(group.sizes) for group in chunking.groups)
    assert (chunking.num_chunks, conditional, weights, net.target.numel) == (
        42,
        556,
        37_457_120,
        36_454_832,
    )


def test_the_recipe_is_launched_from_the_shell(inspected: Any) -> None:
    found = inspected(
        *("--mainnet", "wide_resnet", "--hypernet", "structured_hmlp"),
        *("--in-shape", "3,32,32", "--out", "10"),
        *("--generate", "*conv*", "--generate", "*shortcut*"),
        *("--conditions", "10", "--embedding-size", "0"),
        *("hypernet.chunking=economical_ensemble", "hypernet.conditional_chunks=true"),
    )
    assert found["conditional"] + found["unconditional"] == 37_462_680
    assert (found["conditional"], found["generated"]) == (5_560, 36_454_832)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("fan", ["in", "out", "harmonic"])
@pytest.mark.parametrize("bias", ["zero", "torch"])
def test_generated_tensors_start_as_wanted(depth: int, fan: Any, bias: Any) -> None:
    torch.manual_seed(depth)
    target = TargetSpec.of(
        WideResNet((3, 8, 8), 10, n=1, k=2, feature_maps=(8, 8, 16, 32), conv_bias=True)
    )
    chunking = wide_resnet(target, hidden=(40,) * depth, embedding_size=8)
    hypernet = StructuredHMLP(
        target, ConditionSpec(count=100, size=8), chunking, conditional_chunks=True
    )
    hypernet.initialize(Init(fan=fan, bias=bias))
    squares = {
        name: tensor.square().mean().item() for name, tensor in hypernet(list(range(100))).items()
    }
    wanted = {
        name: start.mean_square for name, start in zip(target.names, hypernet.starts, strict=True)
    }
    # Large tensors decide how long the embeddings of their chunks are; small ones
    # beside them are right on average over the group.
    groups: dict[tuple[int, int], list[str]] = {}
    for name, assembled in chunking.assembly.items():
        groups.setdefault((assembled.pieces[0].group, assembled.pieces[0].tensor), []).append(name)
    for names in groups.values():
        if target[names[0]].kind == "weight":
            for name in names:
                assert squares[name] == pytest.approx(wanted[name], rel=0.1), name
        mean = sum(squares[name] for name in names) / len(names)
        assert mean == pytest.approx(
            sum(wanted[name] for name in names) / len(names), rel=0.1, abs=1e-9
        ), names
