"""The PyTorch side of against_pytorch.py's training: one epoch of Adam on the cross-entropy.

Prints the seconds that the epoch took, without import, reading and the like, and the mean loss.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from pytorch_kernel import load_network
from torch.nn.functional import cross_entropy


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="examples, .npy")
    parser.add_argument("labels", type=Path, help="classes, .npy")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    return parser.parse_args()


def main() -> None:
    """Train once through the examples in a random order."""
    arguments = parse_arguments()
    model = load_network(arguments.model)
    data = torch.tensor(np.load(arguments.data))
    labels = torch.tensor(np.load(arguments.labels).astype(np.int64))
    optimizer = torch.optim.Adam(model.parameters(), lr=arguments.rate)
    start = time.perf_counter()
    order = torch.randperm(len(data))
    total = 0.0
    for rows in order.split(arguments.batch):
        loss = cross_entropy(model(data[rows]), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    print(time.perf_counter() - start, total / len(data))


if __name__ == "__main__":
    main()
