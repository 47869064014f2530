"""Transposed convolutions that enlarge images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

# As in DCGAN, images start at 4x4 pixels; smaller ones would be mostly padding.
_SMALLEST = 4


class Enlarge(nn.ConvTranspose2d):
    """A transposed convolution to an image of the same or about twice the size.

    Args:
        before: Channels and `(height, width)` of the input.
        after: Channels and `(height, width)` of the output.
        kernel: `(height, width)` of the kernel.
        bias: Whether there is a bias.
    """

    def __init__(
        self,
        before: tuple[int, tuple[int, int]],
        after: tuple[int, tuple[int, int]],
        kernel: tuple[int, int],
        *,
        bias: bool,
    ) -> None:
        self.size = after[1]
        # Strides per direction: a size that stays the same is not enlarged.
        height, width = (
            1 if small == large else 2 for small, large in zip(before[1], after[1], strict=True)
        )
        # With an odd kernel the output is then exactly `stride` times as large.
        super().__init__(
            before[0],
            after[0],
            kernel,
            stride=(height, width),
            padding=((kernel[0] - 1) // 2, (kernel[1] - 1) // 2),
            output_padding=(height - 1, width - 1),
            bias=bias,
        )

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map `[N, C, H, W]` to the larger image.

        Doubling an odd size, or an even kernel, gives a row or column too many, which
        is dropped.
        """
        return super().forward(x, output_size)[..., : self.size[0], : self.size[1]]


def sizes_backwards(size: Sequence[int], num_layers: int) -> tuple[tuple[int, int], ...]:
    """Height and width after each layer, from those of the image backwards.

    Example:
        >>> sizes_backwards((32, 9), 5)
        ((4, 5), (4, 5), (8, 5), (16, 5), (32, 9))
    """
    height, width = size
    sizes = [(height, width)]
    for _ in range(num_layers - 1):
        # Rounded up, since a surplus row can be dropped, but not added.
        height, width = (
            half if (half := -(-one // 2)) >= _SMALLEST else one for one in (height, width)
        )
        sizes.append((height, width))
    return tuple(reversed(sizes))
