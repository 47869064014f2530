"""Proposers: which configurations of a search are tried, and in which order.

The public names are in the stub beside this file; each is imported when it is first
used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
