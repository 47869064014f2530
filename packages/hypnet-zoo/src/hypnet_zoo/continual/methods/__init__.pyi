from ._networks import Statistics
from ._protection import Protection
from .finetune import Finetune
from .hypernet import Hypernet
from .joint import Joint
from .separate import Separate

__all__ = ["Finetune", "Hypernet", "Joint", "Protection", "Separate", "Statistics"]
