"""hypnet-data: datasets and continual-learning task sequences.

`hypnet_data.plugin` lists them.
"""

__version__ = "0.1.0"
