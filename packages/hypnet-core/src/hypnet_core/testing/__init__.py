"""The conformance kit: what every component of a kind must fulfil."""
