from .app import data
from .description import DatasetDocument, PreparedDocument, describe, describe_preparation

__all__ = ["DatasetDocument", "PreparedDocument", "data", "describe", "describe_preparation"]
