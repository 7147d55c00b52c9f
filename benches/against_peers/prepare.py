"""Writes the first images of an MNIST file as .npy, also in float64: IMAGES FOLDER COUNT…"""

import sys
from pathlib import Path

import numpy as np
from against_pytorch import read_images


def main() -> None:
    """One pair of files for each count."""
    images, folder, *counts = sys.argv[1:]
    for count in counts:
        data = read_images(Path(images), int(count), 255)
        np.save(Path(folder) / f"data{count}.npy", data)
        np.save(Path(folder) / f"data{count}f64.npy", data.astype(np.float64))


if __name__ == "__main__":
    main()
