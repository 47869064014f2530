from .activations import Activation, ActivationName, activation_module
from .batch_norm import BatchNorm
from .batched import batched_conv2d, batched_linear
from .context_mod import ContextMod
from .contexts import checkpoint_contexts, context_layers
from .images import FromFlatHWC
from .local_conv2d import LocalConv2d
from .modulation import Modulation, attach, modulate
from .per_tensor import PerTensor
from .recurrent import Recurrent
from .self_attention import SelfAttention
from .spectral_norms import with_spectral_norms
from .stepwise_context_mod import StepwiseContextMod

__all__ = [
    "Activation",
    "ActivationName",
    "BatchNorm",
    "ContextMod",
    "FromFlatHWC",
    "LocalConv2d",
    "Modulation",
    "PerTensor",
    "Recurrent",
    "SelfAttention",
    "StepwiseContextMod",
    "activation_module",
    "attach",
    "batched_conv2d",
    "batched_linear",
    "checkpoint_contexts",
    "context_layers",
    "modulate",
    "with_spectral_norms",
]
