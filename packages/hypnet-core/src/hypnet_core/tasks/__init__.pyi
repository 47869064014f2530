from .batch import Batch, Samples
from .loaded import LoadedSplit
from .split import Indices, Split, Transform
from .stream import Stream
from .task import Task, TaskSequence

__all__ = [
    "Batch",
    "Indices",
    "LoadedSplit",
    "Samples",
    "Split",
    "Stream",
    "Task",
    "TaskSequence",
    "Transform",
]
