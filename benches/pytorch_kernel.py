"""The PyTorch side of against_pytorch.py: kernels by torch.func, vmap over grad.

Prints the seconds that the work took, without import, reading and writing.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

OUTPUTS = 10

Scalar = Callable[[Tensor], Tensor]


def load_network(file: Path) -> nn.Module:
    """The paper's MNIST network, its weights read from ONNX in node order."""
    model = nn.Sequential(
        *[nn.Conv2d(1, 32, 5), nn.PReLU(), nn.AvgPool2d(2)],
        *[nn.Conv2d(32, 64, 5), nn.PReLU(), nn.AvgPool2d(2)],
        *[nn.Flatten(), nn.Linear(1024, 256), nn.PReLU(), nn.Linear(256, OUTPUTS)],
    )
    graph = onnx.load(file).graph
    arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    used = [arrays[name] for node in graph.node for name in node.input if name in arrays]
    weights = [array for array in used if array.dtype == np.float32]
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), weights, strict=True):
            parameter.copy_(torch.tensor(array).reshape(parameter.shape))
    return model


def scalar_of(outputs: str) -> Scalar:
    """The number differentiated: the outputs' sum or mean, or one of them."""
    named: dict[str, Scalar] = {"sum": Tensor.sum, "mean": Tensor.mean}
    return named[outputs] if outputs in named else lambda y: y[int(outputs)]


def gradients(model: nn.Module, data: Tensor, scalar: Scalar, chunk: int) -> Tensor:
    """One gradient a row, all parameters side by side."""

    def value(parameters: dict[str, Tensor], example: Tensor) -> Tensor:
        return scalar(functional_call(model, parameters, (example.unsqueeze(0),))[0])

    parameters = {name: p.detach() for name, p in model.named_parameters()}
    per_example = vmap(grad(value), in_dims=(None, 0), chunk_size=chunk)(parameters, data)
    return torch.cat([g.flatten(1) for g in per_example.values()], 1)


def correlation(model: nn.Module, data: Tensor, outputs: str, chunk: int) -> Tensor:
    """Inner products of gradients, scaled to one for an example with itself.

    The kernel is scaled, not the gradients: it is smaller, and a float32 norm
    of so long a row is off by 1e-5.
    """
    rows = gradients(model, data, scalar_of(outputs), chunk)
    kernel = rows @ rows.T
    scale = kernel.diagonal().rsqrt()
    return kernel * scale * scale.unsqueeze(1)


def trace(model: nn.Module, data: Tensor, chunk: int) -> Tensor:
    """Inner products of gradients, summed over the outputs."""
    kernel = torch.zeros(len(data), len(data))
    for output in range(OUTPUTS):
        rows = gradients(model, data, scalar_of(str(output)), chunk)
        kernel += rows @ rows.T
    return kernel


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["correlation", "trace"])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="examples, .npy")
    parser.add_argument("result", type=Path, help="where the kernel goes, .npy")
    parser.add_argument("--outputs", default="sum", help="sum, mean or an output's index")
    parser.add_argument("--chunk", type=int, default=100, help="examples differentiated at once")
    return parser.parse_args()


def main() -> None:
    """Computes one kernel and prints its seconds."""
    arguments = parse_arguments()
    torch.set_num_threads(os.cpu_count() or 1)
    model = load_network(arguments.model)
    data = torch.from_numpy(np.load(arguments.data))
    start = time.perf_counter()
    if arguments.task == "trace":
        kernel = trace(model, data, arguments.chunk)
    else:
        kernel = correlation(model, data, arguments.outputs, arguments.chunk)
    print(time.perf_counter() - start)
    np.save(arguments.result, kernel.numpy())


if __name__ == "__main__":
    main()
