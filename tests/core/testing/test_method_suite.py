"""The conformance suite of methods: it accepts right ones and finds faults."""

from __future__ import annotations

import sys
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent

import pytest

from hypnet_core.plugins.component import Component
from hypnet_core.plugins.registry import Entry
from hypnet_core.protocols import Method
from hypnet_core.testing.kit import Outcome, run_checks
from hypnet_core.testing.method import CHECKS

IN_DOCSTRING = cleandoc(Method.__doc__ or "").partition("```python\n")[2].partition("```")[0]
"""The whole method that the protocol's docstring holds."""

FAULTY = dedent('''
    Good = Finetune


    class NoScenario(Good):
        scenarios = ()


    class OtherScenario(Good):
        scenarios = ("task", "online")


    class NoEnd:
        scenarios = ("task",)
        def __init__(self, problem): ...


    class Lazy(Good):
        def step(self, batch):
            return {"loss": torch.zeros(())}


    class WithGraph(Good):
        def step(self, batch):
            super().step(batch)
            return {"loss": self.problem.loss(self.problem.module(batch.x), batch, self.task)}


    class Nameless(Good):
        def step(self, batch):
            return {"error": super().step(batch)["loss"]}


    class AllOutputs(Good):
        def predict(self, x, task=None):
            return self.problem.module(x)


    class TooFew(Good):
        def predict(self, x, task=None):
            return super().predict(x, task)[:-1]


    class Classes(Good):
        def predict(self, x, task=None):
            return super().predict(x, task).tolist()


    class NaN(Good):
        """Spoils the last sample alone."""

        def predict(self, x, task=None):
            outputs = super().predict(x, task).clone()
            outputs[-1, 0] = float("nan")
            return outputs


    class Infinite(NaN):
        def predict(self, x, task=None):
            return super().predict(x, task).nan_to_num(nan=float("inf"))


    class Noisy(Good):
        def predict(self, x, task=None):
            return super().predict(x, task) + torch.randn(len(x), 1)


    class Counting(Good):
        count = 0

        def predict(self, x, task=None):
            self.count += 1
            return super().predict(x, task)

        def state_dict(self):
            return {**super().state_dict(), "count": self.count}


    class Forgetful(Good):
        """Loses the state of its optimiser."""

        def load_state_dict(self, state):
            self.task = state["task"]
            self.problem.module.load_state_dict(state["module"])
            self.optimizer = self.problem.optimizer(self.problem.parameters())


    class Sparse(Good):
        """Its state lives in memory, but not in a file."""

        def state_dict(self):
            return {**super().state_dict(), "seen": torch.eye(2).to_sparse()}


    class Blind(Good):
        def step(self, batch):
            super().step(batch)
            return {"loss": torch.ones(())}


    class Each(Good):
        """Mixes up the weights of its tasks."""

        def predict_each(self, x, tasks):
            return [self.predict(x, task).flip(1)[None] for task in tasks]
''')


def failed(name: str) -> set[str]:
    component = Component.method("m", f"methods_kit:{name}", "A method.")
    entry = Entry(component, "kit", "kit-dist", "1")
    return {
        result.check
        for result in run_checks(entry, checks=CHECKS)
        if result.outcome is Outcome.FAILED
    }


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "methods_kit", raising=False)
    (tmp_path / "methods_kit.py").write_text(f"import torch\n{IN_DOCSTRING}\n{FAULTY}")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_right_method_passes() -> None:
    """It is the one in the docstring of the protocol."""
    assert failed("Good") == set()


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("NoScenario", "it_names_its_scenarios"),
        ("OtherScenario", "it_names_its_scenarios"),
        ("NoEnd", "it_has_the_methods_of_a_method"),
        ("Lazy", "it_learns_the_task_at_hand"),
        ("WithGraph", "its_losses_are_finite_scalars"),
        ("Nameless", "its_losses_are_finite_scalars"),
        ("AllOutputs", "predictions_have_one_row_per_sample"),
        ("TooFew", "predictions_have_one_row_per_sample"),
        ("Classes", "predictions_have_one_row_per_sample"),
        ("NaN", "predictions_are_finite"),
        ("Infinite", "predictions_are_finite"),
        ("Noisy", "predicting_changes_nothing"),
        ("Counting", "predicting_changes_nothing"),
        ("Forgetful", "it_continues_from_its_state"),
        ("Sparse", "it_continues_from_its_state"),
        ("Blind", "losses_that_are_not_finite_do_not_pass"),
        ("Each", "inference_gives_each_task_its_weights"),
    ],
)
def test_a_fault_is_found(name: str, check: str) -> None:
    assert check in failed(name)
