"""Materialised main networks: generated weights as ordinary parameters."""

from __future__ import annotations

import copy
from typing import SupportsIndex

import torch
from torch import nn

from hypnet_core.errors import SpecError, WeightsError, clipped
from hypnet_core.networks.checks import check_keywords, check_tensors
from hypnet_core.networks.conditions import condition_ids
from hypnet_core.networks.main_network import MainNetwork
from hypnet_core.networks.weights import Weights


@torch.no_grad()
def materialize(
    net: MainNetwork, weights: Weights, *, condition: SupportsIndex | None = None
) -> nn.Module:
    """Copy a main network's module, with one set of weights as ordinary parameters.

    The copy needs no hypernetwork and no `MainNetwork`: it can be saved, exported,
    quantised or trained like any other module. Tied parameters are tied again.

    Args:
        net: The main network; it is left as it is.
        weights: One set of weights, without a batch dimension.
        condition: Whose running statistics, and other tensors that layers keep per
            condition, the copy gets; by default those of the condition that the weights
            belong to, or else the module's own.

    Raises:
        WeightsError: The weights have a batch dimension, or are not those of the
            target.
        SpecError: This is no main network.
        ConditionError: The condition is not a whole number from 0, or it is unknown
            whose running statistics the copy gets.

    Example:
        >>> net = MainNetwork(nn.Linear(3, 2))
        >>> layer = materialize(net, Weights(torch.ones(8), net.target))
        >>> layer(torch.ones(1, 3))
        tensor([[4., 4.]], grad_fn=<AddmmBackward0>)
    """
    given: object = net
    if not isinstance(given, MainNetwork):
        raise SpecError(f"a MainNetwork is expected, got {clipped(repr(given))}")
    check_keywords(net.module, weights=weights)
    batch_shape = check_tensors(net.target, weights)
    if batch_shape:
        raise WeightsError(
            f"one set of weights makes a module, got a batch of {list(batch_shape)}: choose one"
            " with weights.index(i)"
        )
    # Hollow parameters are tensors on the meta device, so that the copy costs no
    # memory.
    module = copy.deepcopy(net.module)
    # One parameter per name, so that tied places share it again.
    made = {name: nn.Parameter(weights[name].detach().clone()) for name in net.target.names}
    for place, name in net.places:
        owner_name, _, attribute = place.rpartition(".")
        owner = module.get_submodule(owner_name)
        delattr(owner, attribute)
        owner.register_parameter(attribute, made[name])
    ids = weights.conditions if condition is None else condition_ids(condition).ids
    if ids is None:
        net.check_known()
    else:
        # A condition without a row has the module's own statistics.
        own = dict(net.module.named_buffers())
        for name, values in net.bank.rows(ids[0], own).items():
            module.get_buffer(name).copy_(values)
        for name, values in net.contexts_at(ids[0]).items():
            module.get_parameter(name).copy_(values)
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            # cuDNN wants the weights of a recurrent layer in one block.
            layer.flatten_parameters()
    return module
