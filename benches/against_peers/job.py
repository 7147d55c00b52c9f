"""Runs one peer once and prints as JSON how long its work took.

A process of its own: what it cannot do must not end the others, and its peak of
memory must be its own.
"""

import argparse
import importlib
import json
import time
from pathlib import Path

import numpy as np

OUTPUTS = {"correlation": range(1), "trace": range(10)}


def unit_diagonal(kernel: np.ndarray) -> np.ndarray:
    """The kernel of unit gradients.

    The kernel is scaled, not the gradients: it is smaller, and a float32 norm
    of so long a row is off by 1e-5.
    """
    scale = 1 / np.sqrt(kernel.diagonal())
    return kernel * scale * scale[:, None]


def set_threads(count: int) -> None:
    """For PyTorch, which asks; JAX takes as many as the process may use processors."""
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(count)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", help="a module of peers/")
    parser.add_argument("task", choices=OUTPUTS)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="examples, .npy")
    parser.add_argument("result", type=Path, help="where the matrix goes, .npy")
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


def main() -> None:
    """Loads, works, writes."""
    arguments = parse_arguments()
    peer = importlib.import_module(f"peers.{arguments.peer}")
    set_threads(arguments.threads)
    data = np.load(arguments.data)
    work = peer.kernel(arguments.model, data, OUTPUTS[arguments.task])
    start = time.perf_counter()
    kernel = work()
    if arguments.task == "correlation":
        kernel = unit_diagonal(kernel)
    seconds = time.perf_counter() - start
    np.save(arguments.result, kernel)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
