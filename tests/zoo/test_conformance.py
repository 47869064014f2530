"""Every component of hypnet-zoo passes the conformance kit; new ones are found through the registry."""

from hypnet_core.testing import conformance

test_conformance = conformance("zoo")
