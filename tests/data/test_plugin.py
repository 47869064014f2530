from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

from hypnet_core.plugins import Component, Kind
from hypnet_data.plugin import hypnet_components

COMPONENTS = hypnet_components()
HEAVY = ("torch", "numpy", "torchvision", "sklearn", "matplotlib", "pandas", "scipy", "PIL")


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_every_component_is_a_dataset_that_can_be_imported_and_is_documented(
    component: Component,
) -> None:
    assert component.kind is Kind.DATASET
    factory = component.load()
    assert factory.__name__ == component.name
    assert inspect.getdoc(factory)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_an_unknown_option_is_refused_in_python_as_well(component: Component) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        component.load()(nonsense=1)


def test_importing_the_package_and_its_plugin_loads_nothing_heavy() -> None:
    code = (
        "import hypnet_data, hypnet_data.plugin as p, json, sys; p.hypnet_components();"
        f" print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_a_dataset_loads_what_it_needs_only_when_it_is_built() -> None:
    slow = ("torchvision", "sklearn", "matplotlib", "pandas", "scipy", "PIL")
    names = [component.target.partition(":")[2] for component in COMPONENTS]
    code = (
        "import json, sys; from hypnet_core.plugins import registry;"
        f" [registry().get('dataset', 'data:' + name).load() for name in {names}];"
        f" print(json.dumps([m for m in {slow} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
