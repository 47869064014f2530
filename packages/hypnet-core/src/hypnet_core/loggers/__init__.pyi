from .csv_file import CsvLogger
from .jsonl import JsonlLogger
from .mlflow import MlflowLogger
from .tensorboard import TensorBoardLogger
from .wandb import WandbLogger

__all__ = ["CsvLogger", "JsonlLogger", "MlflowLogger", "TensorBoardLogger", "WandbLogger"]
