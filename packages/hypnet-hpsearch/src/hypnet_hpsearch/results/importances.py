"""Importances of options: how much of the variation of the metric each explains.

Needs the extra `optuna`.
"""

from __future__ import annotations

from hypnet_core.errors import RunError
from hypnet_hpsearch.propose.optuna.components import optuna
from hypnet_hpsearch.propose.optuna.study import Study
from hypnet_hpsearch.spec.space import Space
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.store import Store

__all__ = ["METHODS", "importances_of"]

METHODS = ("ped_anova", "fanova")
"""PED-ANOVA, which looks at the best tenth of the trials, and functional ANOVA."""


def importances_of(store: Store, spec: SearchSpec, method: str = METHODS[0]) -> dict[str, float]:
    """The importance of each option, the largest first; they sum up to one.

    With several seeds it is that for the value of configurations, with several
    objectives that for the first one. Options that conditions leave out of some trials
    are left out.

    Args:
        store: The search's directory.
        spec: The search.
        method: One of `METHODS`.

    Raises:
        RunError: Optuna, or scikit-learn for `fanova`, is not installed; or there are
            too few results.

    References:
        Watanabe, Bansal, Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter
        Importance in Arbitrary Subspaces", IJCAI 2023, arXiv:2304.10255. Hutter, Hoos,
        Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance",
        ICML 2014.
    """
    study = Study(spec, Space.of(spec), optuna().storages.InMemoryStorage())
    study.follow(store)
    found = study.importances(method)
    if not found:
        raise RunError(
            f"{store.directory}: there are too few results, or no option has several values"
        )
    return found
