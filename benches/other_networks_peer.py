"""The PyTorch side of other_networks.py: networks of many kinds, their export, and kernels by torch.func.

`prepare` writes the ONNX file and the examples and prints how many parameters there are; `kernel` prints the seconds
that the work took, without import, reading and writing; `compare` prints how far the two kernels are apart.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel


def blocks(width: int, heads: int, count: int) -> nn.Sequential:
    """Transformer blocks, normalised first."""
    layer = {"batch_first": True, "dropout": 0.0, "activation": "gelu", "norm_first": True}
    made = [nn.TransformerEncoderLayer(width, heads, 4 * width, **layer) for _ in range(count)]
    return nn.Sequential(*made)


class Text(nn.Module):
    """A transformer encoder over token ids, mean-pooled."""

    def __init__(self, tokens: int = 2000, width: int = 128, length: int = 64) -> None:
        super().__init__()
        self.table = nn.Embedding(tokens, width)
        self.places = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.blocks = blocks(width, 4, 4)
        self.head = nn.Linear(width, 6)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.blocks(self.table(ids) + self.places).mean(1))


class Vision(nn.Module):
    """A vision transformer over 32×32 images, patches of 4×4."""

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.places = nn.Parameter(torch.randn(1, 65, width) * 0.02)
        self.first = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = blocks(width, 3, 6)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(images), -1, -1), tokens], 1)
        return self.head(self.norm(self.blocks(tokens + self.places)[:, 0]))


class Recurrent(nn.Module):
    """Two layers of LSTM over series, read at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.LSTM(16, 64, 2, batch_first=True)
        self.head = nn.Linear(64, 4)

    def forward(self, series: Tensor) -> Tensor:
        return self.head(self.layers(series)[0][:, -1])


def convolutions_of_series() -> nn.Module:
    """Convolutions along one axis."""
    return nn.Sequential(
        *[nn.Conv1d(8, 32, 7, padding=3), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(2)],
        *[nn.Conv1d(32, 64, 5, padding=2), nn.BatchNorm1d(64), nn.ReLU(), nn.MaxPool1d(2)],
        *[nn.Conv1d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()],
        nn.Linear(64, 5),
    )


def perceptron() -> nn.Module:
    """Three linear layers, as over a table."""
    layers = [nn.Linear(100, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 5)]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Case:
    """A network and what it is run on."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    count: int
    tokens: int = 0


MODELS = torchvision.models
CASES = {
    "perceptron": Case(perceptron, (100,), 5000),
    "series": Case(convolutions_of_series, (8, 256), 1000),
    "lstm": Case(Recurrent, (40, 16), 1000),
    "text": Case(Text, (64,), 512, tokens=2000),
    "vit": Case(Vision, (3, 32, 32), 512),
    "mobilenet": Case(lambda: MODELS.mobilenet_v2(num_classes=10), (3, 64, 64), 256),
    "resnet18": Case(lambda: MODELS.resnet18(num_classes=10), (3, 112, 112), 64),
    "convnext": Case(lambda: MODELS.convnext_tiny(num_classes=10), (3, 96, 96), 32),
}


def network(case: Case) -> nn.Module:
    """With weights that differ everywhere: exporters make one tensor of equal ones."""
    torch.manual_seed(0)
    model = case.make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def examples(case: Case) -> Tensor:
    """Noise, or tokens."""
    generator = torch.Generator().manual_seed(1)
    shape = (case.count, *case.shape)
    if case.tokens:
        return torch.randint(case.tokens, shape, generator=generator)
    return torch.randn(shape, generator=generator)


def prepare(name: str, work: Path) -> None:
    """Writes the ONNX file and the examples; prints how many parameters and examples there are."""
    case = CASES[name]
    model, data = network(case), examples(case)
    np.save(work / f"{name}.npy", data.numpy())
    # As written down: optimised, BatchNormalization would be folded into weights.
    style = {"dynamo": False} if name == "lstm" else {"dynamo": True, "optimize": False}
    named = {"input_names": ["x"], "output_names": ["y"]}
    axes = {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    file = work / f"{name}.onnx"
    torch.onnx.export(model, (data[:2],), file, **named, **axes, **style, external_data=False)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps([count, case.count]))


def kernel(name: str, work: Path, chunk: int) -> None:
    """The work of torch.func; prints its seconds."""
    case = CASES[name]
    model, data = network(case), examples(case)
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    size = sum(value.numel() for value in parameters.values())
    torch.backends.mha.set_fastpath_enabled(False)

    def first(parameters: dict[str, Tensor], example: Tensor) -> Tensor:
        return functional_call(model, parameters, (example[None],))[0, 0]

    start = time.perf_counter()
    rows = torch.empty(len(data), size)
    with sdpa_kernel(SDPBackend.MATH):
        for at in range(0, len(data), chunk):
            part = vmap(grad(first), in_dims=(None, 0))(parameters, data[at : at + chunk])
            rows[at : at + chunk] = torch.cat([value.flatten(1) for value in part.values()], 1)
    matrix = rows @ rows.T
    scale = matrix.diagonal().rsqrt()
    matrix = matrix * scale * scale[:, None]
    seconds = time.perf_counter() - start
    np.save(work / f"{name}-torch.npy", matrix.numpy())
    print(json.dumps(seconds))


def compare(name: str, work: Path) -> None:
    """Prints the largest difference of the two matrices, and how many examples are off in most of their row."""
    found, wanted = (np.load(work / f"{name}-{by}.npy") for by in ("gradkin", "torch"))
    gap = np.abs(found - wanted)
    print(json.dumps([float(gap.max()), int((np.median(gap, 1) > 1e-4).sum())]))


def main() -> None:
    """One task of one network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["prepare", "kernel", "compare"])
    parser.add_argument("network", choices=CASES)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--chunk", type=int, default=32, help="examples of one vmap")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.task == "prepare":
        prepare(arguments.network, arguments.work)
    elif arguments.task == "compare":
        compare(arguments.network, arguments.work)
    else:
        kernel(arguments.network, arguments.work, arguments.chunk)


if __name__ == "__main__":
    main()
