"""Descriptions of searches: their fields, options, grids and ranges."""
