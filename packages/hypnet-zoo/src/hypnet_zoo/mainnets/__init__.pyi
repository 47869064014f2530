from .bi_rnn import BiRNN
from .bio_conv_net import BioConvNet
from .chunked_mlp import ChunkedMLP
from .lenet import LeNet
from .mlp import MLP
from .module import module
from .resnet import ResNet
from .resnet_imagenet import ResNetImageNet
from .simple_rnn import SimpleRNN
from .wide_resnet import WideResNet
from .zenkenet import ZenkeNet

__all__ = [
    "MLP",
    "BiRNN",
    "BioConvNet",
    "ChunkedMLP",
    "LeNet",
    "ResNet",
    "ResNetImageNet",
    "SimpleRNN",
    "WideResNet",
    "ZenkeNet",
    "module",
]
