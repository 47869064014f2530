"""hypnet-hpsearch: hyperparameter searches and job schedulers."""

__version__ = "0.1.0"
