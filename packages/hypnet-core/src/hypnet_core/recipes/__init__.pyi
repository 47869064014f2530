from .counting import Counted, count_parameters, wrong_counts
from .figures import Figure, Verdict, figure_in, judge, measured, measured_text
from .intervals import interval, student_quantile
from .seeds import Configured, changes, configure, experiment_of, run_seeds

__all__ = [
    "Configured",
    "Counted",
    "Figure",
    "Verdict",
    "changes",
    "configure",
    "count_parameters",
    "experiment_of",
    "figure_in",
    "interval",
    "judge",
    "measured",
    "measured_text",
    "run_seeds",
    "student_quantile",
    "wrong_counts",
]
