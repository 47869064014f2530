"""The conformance kit: checks that every component of a kind must pass.

The author of a plugin tests all components with three lines in a test file:

```python
from hypnet_core.testing import conformance

test_conformance = conformance("mylab")
```

`hypnet check NAME` does the same from the shell.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
