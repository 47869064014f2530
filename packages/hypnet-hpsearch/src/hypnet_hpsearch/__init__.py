"""hypnet-hpsearch."""
