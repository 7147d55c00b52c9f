"""NNGeometry: its Gram matrix, a dense matrix in function space.

It knows no PReLU, so each is written with layers that it knows: the slope is
the weight of a 1×1 convolution over the negative part, laid out as one channel.
Same function, same parameters.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from nngeometry.backend import TorchHooksJacobianBackend
from nngeometry.object import FMatDense
from pytorch_kernel import load_network
from torch import Tensor, nn


class SlopeAsConvolution(nn.Module):
    """PReLU with one slope."""

    def __init__(self, prelu: nn.PReLU) -> None:
        """Takes over the slope."""
        super().__init__()
        self.slope = nn.Conv2d(1, 1, 1, bias=False)
        with torch.no_grad():
            self.slope.weight.copy_(prelu.weight.reshape(1, 1, 1, 1))

    def forward(self, values: Tensor) -> Tensor:
        """The positive part and the slope times the negative."""
        negative = values.clamp(max=0).reshape(len(values), 1, 1, -1)
        return values.relu() + self.slope(negative).reshape(values.shape)


def kernel(model: Path, data: np.ndarray, outputs: range) -> Callable[[], np.ndarray]:
    """One Gram matrix per output: all outputs at once would be the whole d×d blocks.

    All examples are one batch, for which it takes two sets of gradients; with b
    batches it would take b² / 2.
    """
    layers = [
        SlopeAsConvolution(layer) if isinstance(layer, nn.PReLU) else layer
        for layer in load_network(model)
    ]
    network = nn.Sequential(*layers)

    def gram(output: int) -> Tensor:
        backend = TorchHooksJacobianBackend(
            model=network, function=lambda x: network(x)[:, output : output + 1]
        )
        examples = torch.from_numpy(data.copy())
        return FMatDense(generator=backend, examples=(examples,)).to_torch()[0, :, 0, :]

    return lambda: sum(gram(output).detach() for output in outputs).numpy()
