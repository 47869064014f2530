"""hypnet-data."""
