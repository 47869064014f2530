"""Recipes in `show`, `run` and `check`."""
