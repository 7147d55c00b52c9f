"""Trains the demonstration network on scikit-learn's digits and writes it with held-out images.

Needs: pip install torch onnx onnxscript onnxruntime scikit-learn
"""

import argparse
import gzip
import struct
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

SEED = 5
HELD_OUT = 500
EPOCHS = 60
BATCH = 32


def network() -> nn.Module:
    """Two convolutions and two linear layers, for images in 0…1."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 20, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(80, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def to_input(images: np.ndarray) -> Tensor:
    """Images of 0…16 as the network reads them: [n, 1, 8, 8] in 0…1."""
    return torch.from_numpy(images).float().unsqueeze(1) / 16


def train(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> None:
    """Adam on shuffled batches, the step shrinking to zero."""
    x, y = to_input(images), torch.from_numpy(labels).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        schedule.step()


def write_network(model: nn.Module, file: Path) -> None:
    """Exports with the batch axis named `n`, without the exporter's notes."""
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("n")},),
        input_names=["image"],
        output_names=["logits"],
        opset_version=20,
        verbose=False,
    )
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]
    onnx.save(proto, file)


def write_idx(array: np.ndarray, file: Path) -> None:
    """Writes bytes as gzipped IDX: two zeros, type 8, the axes, the values."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    file.write_bytes(gzip.compress(header + array.tobytes(), 9, mtime=0))


def accuracy(file: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images that the written network classifies as labelled."""
    session = onnxruntime.InferenceSession(str(file))
    logits = session.run(None, {"image": to_input(images).numpy()})[0]
    return float((logits.argmax(1) == labels).mean())


def main() -> None:
    """Trains, writes, and tests what was written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, metavar="FOLDER")
    folder = parser.parse_args().into

    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.images))
    images = digits.images[order].astype(np.uint8)
    labels = digits.target[order].astype(np.uint8)
    torch.manual_seed(SEED)
    model = network()
    train(model, images[HELD_OUT:], labels[HELD_OUT:])

    folder.mkdir(parents=True, exist_ok=True)
    write_network(model.eval(), folder / "digits.onnx")
    write_idx(images[:HELD_OUT], folder / "digits-images.idx.gz")
    write_idx(labels[:HELD_OUT], folder / "digits-labels.idx.gz")
    share = accuracy(folder / "digits.onnx", images[:HELD_OUT], labels[:HELD_OUT])
    count = sum(p.numel() for p in model.parameters())
    print(f"{count} parameters, {share:.1%} of {HELD_OUT} held-out images right")


if __name__ == "__main__":
    main()
