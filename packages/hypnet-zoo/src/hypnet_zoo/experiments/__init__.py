"""Experiments that `hypnet run` launches."""
