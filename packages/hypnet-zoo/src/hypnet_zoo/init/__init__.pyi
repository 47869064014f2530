from .draw import drawn_weights
from .embeddings import draw_chunk_embeddings, draw_condition_embeddings
from .heads import start_by_bias
from .mainnet import MainnetInit, normal_, start_from, xavier_
from .moments import Moments, wanted_moments
from .options import Init, InitOption
from .products import WritesProducts
from .protocols import HasChunkEmbeddings, HasInitOptions, Initializable, Scalable
from .trunk import xavier_fan_in_

__all__ = [
    "HasChunkEmbeddings",
    "HasInitOptions",
    "Init",
    "InitOption",
    "Initializable",
    "MainnetInit",
    "Moments",
    "Scalable",
    "WritesProducts",
    "draw_chunk_embeddings",
    "draw_condition_embeddings",
    "drawn_weights",
    "normal_",
    "start_by_bias",
    "start_from",
    "wanted_moments",
    "xavier_",
    "xavier_fan_in_",
]
