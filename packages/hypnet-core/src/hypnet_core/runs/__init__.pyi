from .checkpoint import load_checkpoint, save_checkpoint
from .checkpoints import Checkpoints, HasState
from .config import difference, dump_config, load_config, parse_overrides
from .experiment import execute
from .files import append_line, atomic_file, make_directory, read_json, write_atomic, write_json
from .keeping import CheckpointOptions, Stamp
from .log import Log, build_loggers
from .packing import pack, unpack
from .parsing import parse_value, read_mapping, to_yaml
from .progress import Progress, progress
from .randomness import RandomStates
from .reproducible import deterministic
from .run import Run

__all__ = [
    "CheckpointOptions",
    "Checkpoints",
    "HasState",
    "Log",
    "Progress",
    "RandomStates",
    "Run",
    "Stamp",
    "append_line",
    "atomic_file",
    "build_loggers",
    "deterministic",
    "difference",
    "dump_config",
    "execute",
    "load_checkpoint",
    "load_config",
    "make_directory",
    "pack",
    "parse_overrides",
    "parse_value",
    "progress",
    "read_json",
    "read_mapping",
    "save_checkpoint",
    "to_yaml",
    "unpack",
    "write_atomic",
    "write_json",
]
