from ._networks import Statistics
from ._protection import Protection
from .finetune import Finetune
from .generative_inference import GenerativeInference
from .generative_replay import GenerativeReplay
from .hypernet import Hypernet
from .joint import Joint
from .lwf import LwF
from .masking import Masking
from .replay import Replay
from .separate import Separate

__all__ = [
    "Finetune",
    "GenerativeInference",
    "GenerativeReplay",
    "Hypernet",
    "Joint",
    "LwF",
    "Masking",
    "Protection",
    "Replay",
    "Separate",
    "Statistics",
]
