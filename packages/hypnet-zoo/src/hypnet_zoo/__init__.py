"""hypnet-zoo."""
