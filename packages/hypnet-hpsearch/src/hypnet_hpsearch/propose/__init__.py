"""Proposers: which configurations of a search are tried, and in which order."""
