"""The scheduler of Ray clusters.

Private: `hypnet_hpsearch.schedulers` exports `Ray`.
"""
