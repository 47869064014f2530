"""The scheduler of this machine, and the launcher process that starts its jobs."""
