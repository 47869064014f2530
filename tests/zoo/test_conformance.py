"""Every registered component of hypnet-zoo passes the conformance kit."""

from hypnet_core.testing import conformance

test_conformance = conformance("zoo")
