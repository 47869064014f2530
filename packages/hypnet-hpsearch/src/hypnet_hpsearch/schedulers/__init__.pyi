from .batch.base import BatchSystem
from .batch.jobs import Seen
from .batch.lsf import Lsf
from .batch.options import BatchOptions
from .batch.slurm import Slurm
from .local.scheduler import Local
from .ray.scheduler import Ray

__all__ = [
    "BatchOptions",
    "BatchSystem",
    "Local",
    "Lsf",
    "Ray",
    "Seen",
    "Slurm",
]
