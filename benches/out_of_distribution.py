"""Tells inputs from outside MNIST by how few training images the network sees as similar to them.

The 10,000 MNIST test images stand against (a) CIFAR images in grey at 28×28, (b) MNIST turned by
90°, (c) noise with the mean and deviation of MNIST's pixels. Scores: the columns of `gradkin
density` counted against MNIST's training images, the largest soft count of a class, the largest
softmax probability, and the energy of the logits. Shown are areas under the ROC curve (1: every
outsider scores lower).

Needs: pip install numpy pyarrow scikit-learn onnx onnxruntime torch, and a release build of
gradkin. The folder of --shared, or of GRADKIN_SHARED, has data/mnist, data/cifar10 and
data/models/mnist. Example:
    python benches/out_of_distribution.py --shared ../shared
"""

import argparse
import gzip
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as parquet
from sklearn.metrics import roc_auc_score

from mnist import MEAN, STD, images, labels, scaled

CIFAR_RECORD = 3073
COUNTED = re.compile(r"soft|(hard|power)_[\d.]+")
GREY = np.array([0.299, 0.587, 0.114])


def cifar(shared: Path) -> np.ndarray:
    """CIFAR images in grey at 28×28 (the middle of 32×32), 0 to 255."""
    raw = gzip.decompress((shared / "data/cifar10/train_0_999.bin.gz").read_bytes())
    planes = np.frombuffer(raw, np.uint8).reshape(-1, CIFAR_RECORD)[:, 1:].reshape(-1, 3, 32, 32)
    grey = np.tensordot(planes.astype(np.float64), GREY, ([1], [0]))
    return grey[:, None, 2:30, 2:30].round()


def noise(count: int) -> np.ndarray:
    """Normal noise with the mean and the deviation of MNIST's pixels, not clipped."""
    return 255 * np.random.default_rng(0).normal(MEAN, STD, (count, 1, 28, 28))


def logits(model: Path, inputs: np.ndarray) -> np.ndarray:
    """The value that goes into the final LogSoftmax."""
    graph = onnx.load(model)
    last = next(node for node in graph.graph.node if node.op_type == "LogSoftmax")
    graph.graph.output.append(onnx.ValueInfoProto(name=last.input[0]))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    name = session.get_inputs()[0].name
    return np.concatenate([session.run([last.input[0]], {name: x[None]})[0] for x in inputs])


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    """log Σ exp of each row."""
    top = values.max(1, keepdims=True)
    return np.log(np.exp(values - top).sum(1)) + top[:, 0]


def density(inputs: np.ndarray, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Every count of `gradkin density`, per class relative to the class's size."""
    work = arguments.work
    files = {name: work / f"{name}.npy" for name in ("queries", "train", "train_labels")}
    np.save(files["queries"], inputs)
    command = [arguments.gradkin, "density", arguments.model, files["queries"]]
    command += ["--against", files["train"], "--against-labels", files["train_labels"]]
    command += ["-o", work / "density.parquet", *arguments.density]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    table = parquet.read_table(work / "density.parquet").to_pydict()
    sizes = np.bincount(np.load(files["train_labels"]))
    of_classes = [np.array(table[f"soft_{name}"], float) / size for name, size in enumerate(sizes)]
    found = {"largest soft count of a class": np.stack(of_classes, 1).max(1)}
    found |= {name: np.array(table[name], float) for name in table if COUNTED.fullmatch(name)}
    return {f"gradkin {name}": np.nan_to_num(values, nan=-1.0) for name, values in found.items()}


def scores(inputs: np.ndarray, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """All scores of a set, high for what the network knows."""
    values = logits(arguments.model, inputs)
    energy = log_sum_exp(values)
    found = {"largest probability": values.max(1) - energy, "energy": energy}
    return density(inputs, arguments) | found


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = os.environ.get("GRADKIN_SHARED")
    parser.add_argument("--shared", type=Path, default=shared, required=shared is None)
    parser.add_argument("--gradkin", default="target/release/gradkin", help="the program")
    parser.add_argument(
        "--work", type=Path, default=Path("out_of_distribution"), help="for data and tables"
    )
    parser.add_argument(
        "--train", type=int, default=60_000, help="training images to count against"
    )
    parser.add_argument(
        "--test", type=int, default=10_000, help="test images, and outsiders, at most"
    )
    parser.add_argument(
        "--density", nargs=argparse.REMAINDER, default=[], help="more for gradkin density"
    )
    arguments = parser.parse_args()
    arguments.shared = Path(arguments.shared)
    arguments.model = arguments.shared / "data/models/mnist/mnist_cnn.onnx"
    arguments.work.mkdir(parents=True, exist_ok=True)
    chosen = np.random.default_rng(1).permutation(60_000)[: arguments.train]
    np.save(arguments.work / "train.npy", scaled(images(arguments.shared, "train")[chosen]).numpy())
    np.save(arguments.work / "train_labels.npy", labels(arguments.shared, "train")[chosen])
    test = images(arguments.shared, "t10k")[: arguments.test]
    sets = {
        "CIFAR": cifar(arguments.shared)[: len(test)],
        "turned": np.rot90(test, axes=(2, 3)),
        "noise": noise(len(test)),
    }
    inputs = [scaled(pixels).numpy() for pixels in (test, *sets.values())]
    everything = scores(np.concatenate(inputs), arguments)
    ends = np.cumsum([len(test), *map(len, sets.values())])[:-1]
    print("| score | " + " | ".join(sets) + " |\n|---|" + "---|" * len(sets))
    for name, values in everything.items():
        known, *outsiders = np.split(values, ends)
        areas = [area(known, outside) for outside in outsiders]
        print("| " + " | ".join([name, *(f"{value:.4f}" for value in areas)]) + " |")


def area(known: np.ndarray, outsiders: np.ndarray) -> float:
    """Area under the ROC curve of telling what is known from outsiders."""
    inside = np.r_[np.ones(len(known)), np.zeros(len(outsiders))]
    return roc_auc_score(inside, np.r_[known, outsiders])


if __name__ == "__main__":
    main()
