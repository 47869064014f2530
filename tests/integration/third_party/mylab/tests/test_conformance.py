from hypnet_core.testing import conformance

test_conformance = conformance("mylab")
