"""Main networks: plain modules."""
