"""Loggers: where the metrics of a run go, beside its own `metrics.jsonl`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
