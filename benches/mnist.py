"""MNIST as the benchmarks read it, from the IDX files under SHARED/data/mnist."""

import gzip
from pathlib import Path

import numpy as np
import torch

MEAN, STD = 0.1307, 0.3081


def images(shared: Path, part: str) -> np.ndarray:
    """Images [N, 1, 28, 28] of `train` or `t10k`, 0 to 255."""
    raw = gzip.decompress((shared / f"data/mnist/{part}-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)


def labels(shared: Path, part: str) -> np.ndarray:
    """Their classes."""
    raw = gzip.decompress((shared / f"data/mnist/{part}-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(raw, np.uint8, offset=8).astype(np.int64)


def scaled(pixels: np.ndarray) -> torch.Tensor:
    """As the networks want them."""
    return torch.from_numpy((pixels.astype(np.float32) / 255 - MEAN) / STD)
