"""Configurations, experiments, checkpoints and jobs."""
