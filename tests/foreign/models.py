"""Models that nobody here wrote: how to build them small, and inputs for them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


class Model(NamedTuple):
    """A model under its library's name.

    Attributes:
        name: The library and the model.
        make: Builds it, with random parameters.
        inputs: Makes positional and further inputs.
        refused: In a batch of weights: part of the reason why it is refused.
        random: Whether training draws samples, so that a batch differs from a loop.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    refused: str = ""
    random: bool = False


def models() -> Iterator[Model]:
    """All of them."""
    yield from _timm()
    yield from _torchvision()
    yield from _transformers()
    yield from _geometric()
    yield from _torch()


def _images(size: int, channels: int = 3) -> Callable[[], Inputs]:
    return lambda: ((torch.randn(2, channels, size, size),), {})


_TIMM = {
    # Any size will do.
    64: """
        resnet10t seresnet18 ecaresnet26t skresnet18 resnest14d resnext26ts regnetx_002 regnety_002
        convnext_atto convnextv2_atto efficientnet_b0 mobilenetv2_050 mobilenetv3_small_050
        mobilenetv4_conv_small_050 mnasnet_050 ghostnet_050 ghostnetv2_100 lcnet_035 tinynet_e
        fbnetc_100 hardcorenas_a rexnet_100 repvgg_a0 repghostnet_050 repvit_m0_9 mobileone_s0
        fastvit_t8 mobilevit_xxs mobilevitv2_050 edgenext_xx_small poolformer_s12 caformer_s18
        convformer_s18 hrnet_w18_small dla34 densenet121 inception_next_tiny selecsls42 cspresnet50
        darknet17 mambaout_femto starnet_s1 rdnet_tiny nf_resnet26 test_byobnet test_efficientnet
        efficientvit_b0 pvt_v2_b0 resnetv2_18
    """,
    96: "res2net50_26w_4s nextvit_small shvit_s1 swiftformer_xs vovnet39a",
    160: "test_vit lambda_resnet26t inception_v3",
    # Built for one size.
    224: """
        convit_tiny beit_base_patch16_224 deit_tiny_distilled_patch16_224 vit_tiny_patch16_224
        eva02_tiny_patch14_224 swin_tiny_patch4_window7_224 levit_128s tiny_vit_5m_224
        efficientformer_l1 efficientformerv2_s0 efficientvit_m0 mixer_s32_224 resmlp_12_224
        gmlp_ti16_224 pit_ti_224 xcit_nano_12_p16_224 twins_svt_small visformer_tiny nest_tiny
        sequencer2d_s tnt_s_legacy_patch16_224 hiera_tiny_224 gcvit_xxtiny
    """,
    240: "crossvit_tiny_240",
    256: "coatnet_rmlp_nano_rw_224 maxvit_rmlp_pico_rw_256 halonet26t botnet26t_256",
}
_SIZES = {"coatnet_rmlp_nano_rw_224": 224}


def _timm() -> Iterator[Model]:
    timm = importlib.import_module("timm")
    for size, names in _TIMM.items():
        for name in names.split():
            yield Model(
                f"timm {name}",
                lambda name=name: timm.create_model(name, num_classes=5),  # type: ignore[misc]
                _images(_SIZES.get(name, size)),
            )

    def checkpointed() -> Any:
        model = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64)
        model.set_grad_checkpointing()
        return model

    yield Model("timm vit_tiny, gradient checkpointing", checkpointed, _images(64))


def _torchvision() -> Iterator[Model]:
    from torchvision import models as vision

    sizes = {
        "googlenet": 64,
        "squeezenet1_1": 64,
        "shufflenet_v2_x0_5": 64,
        "mobilenet_v3_small": 64,
        "regnet_x_400mf": 64,
        "resnet18": 64,
        "efficientnet_b0": 64,
        "convnext_tiny": 64,
        "swin_t": 64,
        "vit_b_32": 224,
    }
    for name, size in sizes.items():
        further = {"init_weights": False} if name == "googlenet" else {}
        yield Model(
            f"torchvision {name}",
            lambda name=name, further=further: getattr(vision, name)(num_classes=5, **further),  # type: ignore[misc]
            _images(size),
        )
    yield Model(
        "torchvision densenet121, memory efficient",
        lambda: vision.densenet121(num_classes=5, memory_efficient=True),
        _images(64),
    )
    segment, detect = vision.segmentation, vision.detection
    none = {"weights": None, "weights_backbone": None}
    yield Model(
        "torchvision lraspp_mobilenet_v3_large",
        lambda: segment.lraspp_mobilenet_v3_large(num_classes=4, **none),
        _images(64),
    )
    yield Model(
        "torchvision r3d_18",
        lambda: vision.video.r3d_18(num_classes=5),
        lambda: ((torch.randn(2, 3, 4, 32, 32),), {}),
    )
    for name in ("ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"):
        yield Model(
            f"torchvision {name}",
            lambda name=name: getattr(detect, name)(num_classes=3, **none),  # type: ignore[misc]
            _scenes,
            refused="outputs of different shapes",
            random=True,
        )


def _scenes() -> Inputs:
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    box = {"boxes": torch.tensor([[1.0, 1, 30, 30]]), "labels": torch.tensor([1])}
    return (images, [box, box]), {}


_SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "max_position_embeddings": 32,
}
_SIDES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "vocab_size": 50,
    "use_cache": False,
}
_PIXELS = {"image_size": 32, "patch_size": 8}
_EYES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def _tokens() -> Inputs:
    return (), {"input_ids": torch.randint(3, 49, (2, 7))}


def _both() -> Inputs:
    ids = {
        "input_ids": torch.randint(3, 49, (2, 7)),
        "decoder_input_ids": torch.randint(3, 49, (2, 5)),
    }
    return (), ids


def _pixels(size: int = 32) -> Callable[[], Inputs]:
    return lambda: ((), {"pixel_values": torch.randn(2, 3, size, size)})


def _encoders() -> Iterator[tuple[str, dict[str, Any]]]:
    factorized = {"embedding_size": 16}
    mobile = {"intra_bottleneck_size": 16, "true_hidden_size": 16}
    modern = dict.fromkeys(("bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"), 1)
    yield from (
        ("Bert", {}),
        ("Roberta", {}),
        ("Electra", factorized),
        ("Albert", factorized),
        ("MPNet", {}),
        ("ConvBert", {}),
        ("Deberta", {}),
        ("DebertaV2", {}),
        ("Ernie", {}),
        ("RoFormer", {}),
        ("MobileBert", {**factorized, **mobile}),
        ("Nystromformer", {}),
        ("FNet", {}),
        ("ModernBert", {**modern, "pad_token_id": 0}),
    )


def _decoders() -> Iterator[tuple[str, dict[str, Any]]]:
    heads = {"num_key_value_heads": 2, "pad_token_id": 0}
    yield from (
        ("GPTNeoX", heads),
        ("Llama", heads),
        ("Mistral", heads),
        ("Qwen2", heads),
        ("Phi", heads),
        ("Gemma", {**heads, "head_dim": 8}),
        ("Mixtral", heads),
        ("OPT", {"word_embed_proj_dim": 16, "ffn_dim": 32}),
        ("Falcon", heads),
        ("Bloom", {}),
        ("Mamba", heads),
    )


def _transformers() -> Iterator[Model]:
    library = importlib.import_module("transformers")

    def model(
        family: str,
        config: dict[str, Any],
        inputs: Callable[[], Inputs],
        ending: str = "Model",
        *,
        remark: str = "",
        refused: str = "",
        prepare: Callable[[Any], Any] = lambda made: made,
    ) -> Model:
        def make() -> Any:
            return prepare(
                getattr(library, family + ending)(getattr(library, f"{family}Config")(**config))
            )

        return Model(f"transformers {family}{remark}", make, inputs, refused)

    for family, further in _encoders():
        yield model(family, {**_SMALL, **further}, _tokens)
    for family, further in _decoders():
        config = {**_SMALL, **further, "use_cache": False}
        yield model(family, config, _tokens, "ForCausalLM")
    cached = {**_SMALL, "num_key_value_heads": 2, "pad_token_id": 0}
    yield model(
        "Llama",
        cached,
        _tokens,
        "ForCausalLM",
        remark=", use_cache=True",
        refused="outputs of type DynamicCache",
    )

    def recomputing(made: Any) -> Any:
        made.gradient_checkpointing_enable({"use_reentrant": False})
        return made

    config = {**cached, "use_cache": False}
    yield model(
        "Llama",
        config,
        _tokens,
        "ForCausalLM",
        remark=", gradient checkpointing",
        prepare=recomputing,
    )
    gpt = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50, "n_positions": 32}
    yield model("GPT2", {**gpt, "use_cache": False}, _tokens, "LMHeadModel")
    t5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 50}
    yield model("T5", {**t5, "use_cache": False}, _both)
    yield model("Bart", {**_SIDES, "max_position_embeddings": 32}, _both)
    tokens = dict.fromkeys(("bos_token_id", "decoder_start_token_id"), 1)
    sound = {"num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 16}
    yield model(
        "Whisper",
        {**_SIDES, **sound, **tokens, "pad_token_id": 0, "eos_token_id": 2},
        lambda: (
            (),
            {
                "input_features": torch.randn(2, 8, 32),
                "decoder_input_ids": torch.randint(3, 49, (2, 4)),
            },
        ),
    )
    yield model("ViT", {**_EYES, **_PIXELS}, _pixels())
    yield model("Dinov2", {**_EYES, **_PIXELS}, _pixels())
    swin = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
    yield model("Swin", {**swin, "image_size": 32, "patch_size": 4}, _pixels())
    stages = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    yield model("ConvNext", stages, _pixels())
    yield model(
        "ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}, _pixels()
    )
    attention = {"num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 8}
    yield model("Segformer", {**stages, **attention}, _pixels(64))
    text = {**_SMALL, "max_position_embeddings": 16}
    clip = {"text_config": text, "vision_config": {**_EYES, **_PIXELS}, "projection_dim": 8}
    yield model("CLIP", clip, lambda: ((), {**_tokens()[1], **_pixels()()[1]}))
    convolutions = {"conv_dim": (8, 8), "conv_stride": (5, 2), "conv_kernel": (10, 3)}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    yield model(
        "Wav2Vec2",
        {**_EYES, **convolutions, **positions, "mask_time_prob": 0.0, "layerdrop": 0.0},
        lambda: ((), {"input_values": torch.randn(2, 400)}),
    )
    blocks = {"num_blocks": 1, "num_self_attends_per_block": 1}
    heads = {"num_self_attention_heads": 2, "num_cross_attention_heads": 2}
    yield model(
        "Perceiver",
        {"num_latents": 4, "d_latents": 16, "d_model": 12, **blocks, **heads},
        lambda: ((), {"inputs": torch.randn(2, 6, 12)}),
    )


def _graph() -> Inputs:
    edges = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]])
    return (torch.randn(5, 4), edges), {}


def _geometric() -> Iterator[Model]:
    graphs = importlib.import_module("torch_geometric.nn")
    for name in ("GCN", "GAT", "GraphSAGE", "GIN"):
        yield Model(
            f"torch_geometric {name}",
            lambda name=name: getattr(graphs, name)(4, 8, 2, 3),  # type: ignore[misc]
            _graph,
        )
    for name in ("GATv2Conv", "TransformerConv", "TAGConv", "ARMAConv"):
        yield Model(
            f"torch_geometric {name}",
            lambda name=name: getattr(graphs, name)(4, 3),  # type: ignore[misc]
            _graph,
        )
    yield Model(
        "torch_geometric Linear", lambda: graphs.Linear(4, 3), lambda: ((torch.randn(5, 4),), {})
    )


def _torch() -> Iterator[Model]:
    def steps(*shape: int) -> Tensor:
        return torch.randn(*shape)

    yield Model(
        "torch LSTM",
        lambda: nn.LSTM(4, 5, 2, batch_first=True),
        lambda: ((steps(2, 6, 4),), {}),
    )
    yield Model(
        "torch GRU", lambda: nn.GRU(4, 5, bidirectional=True), lambda: ((steps(2, 6, 4),), {})
    )
    yield Model(
        "torch Transformer",
        lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        lambda: ((steps(2, 4, 8), steps(2, 3, 8)), {}),
    )
