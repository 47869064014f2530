"""Results of a search: tables, exports, plots and summaries over seeds.

The public names are in the stub beside this file; each is imported when it is first
used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
