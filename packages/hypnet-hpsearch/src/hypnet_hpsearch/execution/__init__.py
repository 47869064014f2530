"""Execution of a search: the driver's loop, its jobs, and displays of its progress."""
