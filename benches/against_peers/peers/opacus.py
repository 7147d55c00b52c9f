"""Opacus: `grad_sample` of a GradSampleModule, without its privacy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from opacus import GradSampleModule
from pytorch_kernel import load_network
from rows import flat, kernel_of
from torch import Tensor


def kernel(model: Path, data: np.ndarray, outputs: range) -> Callable[[], np.ndarray]:
    """A backward pass of the output's sum over the chunk leaves one gradient per example."""
    network = GradSampleModule(load_network(model), loss_reduction="sum")

    def gradients(chunk: Tensor, output: int) -> Tensor:
        network.zero_grad()
        network(chunk)[:, output].sum().backward()
        return flat({name: p.grad_sample for name, p in network.named_parameters()})

    return kernel_of(gradients, torch.from_numpy(data), outputs)
