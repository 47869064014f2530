from ._networks import Statistics
from ._protection import Protection
from .ewc import EWC, OnlineEWC
from .finetune import Finetune
from .generative_inference import GenerativeInference
from .generative_replay import GenerativeReplay
from .hypernet import Hypernet
from .joint import Joint
from .lwf import LwF
from .masking import Masking
from .posterior_replay import PosteriorReplay
from .replay import Replay
from .separate import Separate
from .si import SI

__all__ = [
    "EWC",
    "SI",
    "Finetune",
    "GenerativeInference",
    "GenerativeReplay",
    "Hypernet",
    "Joint",
    "LwF",
    "Masking",
    "OnlineEWC",
    "PosteriorReplay",
    "Protection",
    "Replay",
    "Separate",
    "Statistics",
]
