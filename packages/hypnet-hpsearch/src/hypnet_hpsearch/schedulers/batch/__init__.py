"""Schedulers of batch systems: Slurm and LSF."""
