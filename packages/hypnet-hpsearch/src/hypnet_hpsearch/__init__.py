"""Hyperparameter searches over experiments and other programs, and schedulers.

The public names are in the stub beside this file. Each is imported when it is first
used: every trial imports this package, and must not pay for pydantic or torch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
