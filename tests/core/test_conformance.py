"""Every registered component of hypnet-core passes the conformance kit."""

from hypnet_core.testing import conformance

test_conformance = conformance("core")
