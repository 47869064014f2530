from .fields import GridCondition, Resources
from .load import load_spec
from .ranges import RangeSpec
from .spec import SearchSpec
from .trials import PlannedTrial

__all__ = [
    "GridCondition",
    "PlannedTrial",
    "RangeSpec",
    "Resources",
    "SearchSpec",
    "load_spec",
]
