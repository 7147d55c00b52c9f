"""pyDVL: the gradients that its influence functions are made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pydvl.influence.torch.base import TorchBatch, TorchGradientProvider
from pytorch_kernel import load_network
from rows import kernel_of
from torch import Tensor


def kernel(model: Path, data: np.ndarray, outputs: range) -> Callable[[], np.ndarray]:
    """The rows are those of its gradient provider; its «loss» is the output named by y."""
    network = load_network(model)
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    provider = TorchGradientProvider(
        network, lambda values, y: values.gather(1, y).squeeze(), parameters
    )

    def gradients(chunk: Tensor, output: int) -> Tensor:
        targets = torch.full((len(chunk), 1), output)
        return provider.flat_grads(TorchBatch(chunk, targets))

    return kernel_of(gradients, torch.from_numpy(data), outputs)
