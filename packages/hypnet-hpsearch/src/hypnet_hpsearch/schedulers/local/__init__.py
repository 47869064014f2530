"""The scheduler of this machine, and the launcher process that starts its jobs.

Private: `hypnet_hpsearch.schedulers` exports `Local`.
"""
