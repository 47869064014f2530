"""hypnet-zoo: main networks, hypernetworks, methods and experiments."""

__version__ = "0.1.0"
