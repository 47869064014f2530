"""Proposals of Optuna's samplers. Needs the extra `optuna`."""
