from .batch import Batch, Samples
from .check import check_batch, check_task
from .heads import HeadKind, Heads, Scenario
from .loaded import LoadedSplit
from .objectives import (
    answering_steps,
    at_targets,
    has_targets_per_step,
    mean_prediction,
    sample_scores,
    task_loss,
)
from .problem import MakesOptimizers, Problem
from .split import Indices, Split
from .stream import Batchable, Stream
from .task import Task, TaskSequence, splits_of, stored_bytes
from .transform import Augmentation, Reader, Transform

__all__ = [
    "Augmentation",
    "Batch",
    "Batchable",
    "HeadKind",
    "Heads",
    "Indices",
    "LoadedSplit",
    "MakesOptimizers",
    "Problem",
    "Reader",
    "Samples",
    "Scenario",
    "Split",
    "Stream",
    "Task",
    "TaskSequence",
    "Transform",
    "answering_steps",
    "at_targets",
    "check_batch",
    "check_task",
    "has_targets_per_step",
    "mean_prediction",
    "sample_scores",
    "splits_of",
    "stored_bytes",
    "task_loss",
]
