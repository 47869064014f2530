"""The conformance kit: what every component of a kind must fulfil.

Whoever writes a plugin runs it over all of its components with three lines in a test
file:

```python
from hypnet_core.testing import conformance

test_conformance = conformance("mylab")
```

and anybody from the shell with `hypnet check NAME`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
