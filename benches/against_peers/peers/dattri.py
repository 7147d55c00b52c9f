"""dattri: TracIn with one checkpoint of weight one (its Grad-Dot), unprojected."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from dattri.algorithm.tracin import TracInAttributor
from dattri.task import AttributionTask
from pytorch_kernel import load_network
from torch import Tensor
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset


def kernel(model: Path, data: np.ndarray, outputs: range) -> Callable[[], np.ndarray]:
    """The examples are attributed to themselves, the «loss» being one output.

    All examples are one batch: with b batches it takes the gradients of every
    batch b + 1 times.
    """
    network = load_network(model)
    loader = DataLoader(TensorDataset(torch.from_numpy(data)), batch_size=len(data))

    def attributed(output: int) -> Tensor:
        def loss(parameters: dict[str, Tensor], batch: tuple[Tensor]) -> Tensor:
            return functional_call(network, parameters, (batch[0].unsqueeze(0),))[0, output]

        task = AttributionTask(loss_func=loss, model=network, checkpoints=network.state_dict())
        attributor = TracInAttributor(task, weight_list=torch.ones(1), normalized_grad=False)
        attributor.projector_kwargs = None
        return attributor.attribute(loader, loader)

    return lambda: sum(attributed(output).detach() for output in outputs).numpy()
