from .batch import Batch, Samples
from .check import check_batch, check_task
from .loaded import LoadedSplit
from .split import Indices, Split
from .stream import Batchable, Stream
from .task import Task, TaskSequence, splits_of, stored_bytes
from .transform import Augmentation, Reader, Transform

__all__ = [
    "Augmentation",
    "Batch",
    "Batchable",
    "Indices",
    "LoadedSplit",
    "Reader",
    "Samples",
    "Split",
    "Stream",
    "Task",
    "TaskSequence",
    "Transform",
    "check_batch",
    "check_task",
    "splits_of",
    "stored_bytes",
]
