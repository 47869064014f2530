"""Datasets and continual-learning task sequences.

`hypnet_data.plugin` lists the datasets. The public names are in the stub beside this
file. Each is imported when it is first used, so that `import hypnet_data` needs neither
torch nor numpy.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
