"""From a library that gives per-example gradients to a kernel: rows and one product.

What a user of such a library writes, in its frugal form: the gradients of a
chunk of examples go to their rows of one buffer, so that they exist once.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

CHUNK = 100

Gradients = Callable[[Tensor, int], Tensor]


def flat(gradients: dict[str, Tensor]) -> Tensor:
    """One row per example, all parameters side by side."""
    return torch.cat([g.flatten(1) for g in gradients.values()], 1)


def kernel_of(gradients: Gradients, data: Tensor, outputs: range) -> Callable[[], np.ndarray]:
    """The work: for each output the rows, then their product."""

    def work() -> np.ndarray:
        kernel = torch.zeros(len(data), len(data), dtype=data.dtype)
        rows = None
        for output in outputs:
            for start in range(0, len(data), CHUNK):
                of_chunk = gradients(data[start : start + CHUNK], output)
                if rows is None:
                    rows = of_chunk.new_empty(len(data), of_chunk.shape[1])
                rows[start : start + CHUNK] = of_chunk
            kernel += rows @ rows.T
        return kernel.numpy()

    return work
