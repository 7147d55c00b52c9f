"""TRAK: its gradient computer and its projector that projects nothing.

Scores of TRAK invert a matrix as wide as its features, so they need the random
projection; the features before it are the gradients, and exact.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pytorch_kernel import load_network
from rows import kernel_of
from torch import Tensor
from torch.func import functional_call
from trak.gradient_computers import FunctionalGradientComputer
from trak.modelout_functions import AbstractModelOutput
from trak.projectors import NoOpProjector
from trak.utils import get_num_params


class OneOutput(AbstractModelOutput):
    """The output named by a number that travels with the example."""

    def __init__(self) -> None:
        """Nothing to hold."""

    @staticmethod
    def get_output(network, weights, buffers, example, output) -> Tensor:
        """The number differentiated."""
        outputs = functional_call(network, (weights, buffers), (example.unsqueeze(0),))[0]
        return outputs.gather(0, output)

    def get_out_to_loss_grad(self, network, weights, buffers, batch) -> Tensor:
        """Of no use here: nothing is scored."""
        raise NotImplementedError


def kernel(model: Path, data: np.ndarray, outputs: range) -> Callable[[], np.ndarray]:
    """The rows are TRAK's features of a chunk."""
    network = load_network(model)
    parameters = get_num_params(network)
    computer = FunctionalGradientComputer(
        network, OneOutput(), parameters, torch.float32, torch.device("cpu")
    )
    projector = NoOpProjector(parameters, parameters, device="cpu")

    def gradients(chunk: Tensor, output: int) -> Tensor:
        targets = torch.full((len(chunk),), output)
        return projector.project(computer.compute_per_sample_grad((chunk, targets)), 0).detach()

    return kernel_of(gradients, torch.from_numpy(data), outputs)
