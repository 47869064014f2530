"""Schedulers of batch systems: Slurm and LSF.

Private: `hypnet_hpsearch.schedulers` exports `BatchSystem`, `Slurm` and `Lsf`.
"""
