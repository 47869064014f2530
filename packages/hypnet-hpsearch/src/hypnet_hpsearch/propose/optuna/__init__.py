"""Proposals of Optuna's samplers. Needs the extra `optuna`.

Private: `hypnet_hpsearch.propose` exports `OptunaProposer`.
"""
