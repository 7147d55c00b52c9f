"""torch.func by hand: vmap over grad."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pytorch_kernel import load_network
from rows import flat, kernel_of
from torch import Tensor
from torch.func import functional_call, grad, vmap


def kernel(model: Path, data: np.ndarray, outputs: range) -> Callable[[], np.ndarray]:
    """The rows are those of vmap(grad(one output)); data in float64 makes all of it so."""
    examples = torch.from_numpy(data)
    network = load_network(model).to(examples.dtype)
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def value(parameters: dict[str, Tensor], example: Tensor, output: int) -> Tensor:
        return functional_call(network, parameters, (example.unsqueeze(0),))[0, output]

    def gradients(chunk: Tensor, output: int) -> Tensor:
        return flat(vmap(grad(value), in_dims=(None, 0, None))(parameters, chunk, output))

    return kernel_of(gradients, examples, outputs)
