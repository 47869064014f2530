from ._chunking.documents import ChunkGroup, Chunking, Layout, Piece
from ._chunking.recipes import by_shape, economical_ensemble, resnet, wide_resnet
from ._shared.parts import Part
from .chunked import Chunked, chunked
from .chunked_hdeconv import ChunkedHDeconv
from .chunked_hmlp import ChunkedHMLP
from .container import Container, container
from .delta import Delta, delta, read_weights
from .encoded import Encoded
from .hdeconv import HDeconv
from .hmlp import HMLP
from .low_rank import LowRank, low_rank
from .low_rank_factors import low_rank_factors
from .magnitude_invariant import CosineSine, magnitude_invariant
from .perturbation import Inputs, Perturbed, perturbation
from .several_targets import SeveralTargets
from .shared_hmlp import SharedHMLP
from .statistics_per_condition import StatisticsPerCondition
from .structured_hmlp import StructuredHMLP, structured_hmlp
from .unconditional_weights import unconditional_weights
from .wrapper import Wrapper

__all__ = [
    "HMLP",
    "ChunkGroup",
    "Chunked",
    "ChunkedHDeconv",
    "ChunkedHMLP",
    "Chunking",
    "Container",
    "CosineSine",
    "Delta",
    "Encoded",
    "HDeconv",
    "Inputs",
    "Layout",
    "LowRank",
    "Part",
    "Perturbed",
    "Piece",
    "SeveralTargets",
    "SharedHMLP",
    "StatisticsPerCondition",
    "StructuredHMLP",
    "Wrapper",
    "by_shape",
    "chunked",
    "container",
    "delta",
    "economical_ensemble",
    "low_rank",
    "low_rank_factors",
    "magnitude_invariant",
    "perturbation",
    "read_weights",
    "resnet",
    "structured_hmlp",
    "unconditional_weights",
    "wide_resnet",
]
