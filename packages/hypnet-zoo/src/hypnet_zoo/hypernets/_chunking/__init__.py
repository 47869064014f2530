"""Chunks that respect the layers of a target: documents, recipes, assembly."""
