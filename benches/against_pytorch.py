"""Times gradkin against PyTorch on the MNIST network of the paper.

Two tasks over the first images of a file: the correlation matrix of one number
per example, and the trace over all ten outputs of the raw kernel. With labels
a third: one epoch of training, batch 64, Adam, over `--training` images. PyTorch
takes per-example gradients with torch.func, vmap over grad, then one matrix
product; for the trace, one of each per output. Both run as processes of their
own, in turns, on all cores; the fastest run and the smallest peak memory of
each count. PyTorch's time leaves out import, reading and writing; gradkin's is
that of the whole process.

Needs: pip install torch onnx numpy, and a release build of gradkin. Example:
    python benches/against_pytorch.py paper_cnn/model.onnx t10k-images-idx3-ubyte.gz
    python benches/against_pytorch.py paper_cnn/model.onnx train-images-idx3-ubyte.gz \\
        --labels train-labels-idx1-ubyte.gz --tasks training
"""

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GRADKIN_ARGUMENTS = {
    "correlation": "kernel {model} {data} --outputs {outputs} --kind correlation -o {result}",
    "trace": "kernel {model} {data} --kind inner --reduce trace -o {result}",
}
PYTORCH_SCRIPT = Path(__file__).with_name("pytorch_kernel.py")


@dataclass(frozen=True)
class Run:
    """One process: what it printed, its seconds, its peak memory in bytes."""

    printed: str
    seconds: float
    memory: int


def run(command: list[str]) -> Run:
    """Runs a program to its end; its failure is ours."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(printed, seconds, usage.ru_maxrss * unit)


def run_pytorch(task: str, arguments: argparse.Namespace, folder: Path) -> Run:
    """One run of PyTorch; its seconds are those it measured itself."""
    files = [arguments.model, folder / "data.npy", folder / "pytorch.npy"]
    options = ["--outputs", arguments.outputs, "--chunk", arguments.chunk]
    measured = run([sys.executable, *map(str, [PYTORCH_SCRIPT, task, *files, *options])])
    return Run(measured.printed, float(measured.printed), measured.memory)


def run_gradkin(task: str, arguments: argparse.Namespace, folder: Path) -> Run:
    """One run of gradkin, start to end."""
    values = {
        "model": arguments.model,
        "data": folder / "data.npy",
        "outputs": arguments.outputs,
        "result": folder / "gradkin.npy",
    }
    words = GRADKIN_ARGUMENTS[task].split()
    return run([arguments.gradkin, *(word.format(**values) for word in words)])


def read_images(file: Path, count: int, divisor: float) -> np.ndarray:
    """The first images of a gzipped IDX file as float32 [count, 1, height, width]."""
    raw = gzip.decompress(file.read_bytes())
    height, width = np.frombuffer(raw, ">u4", 2, offset=8)
    images = np.frombuffer(raw, np.uint8, count * height * width, offset=16)
    return (images.reshape(count, 1, height, width) / divisor).astype(np.float32)


def read_labels(file: Path, count: int) -> np.ndarray:
    """The first labels of a gzipped IDX file."""
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, count, offset=8)


def compare_training(arguments: argparse.Namespace, folder: Path) -> None:
    """One epoch each, in turns; gradkin's time is that of the whole process."""
    files = [folder / "data.npy", folder / "labels.npy"]
    script = Path(__file__).with_name("pytorch_training.py")
    theirs = [sys.executable, script, arguments.model, *files]
    ours = [arguments.gradkin, "train", arguments.model, files[0], "--labels", files[1]]
    ours += ["--epochs", "1", "-o", folder / "trained.onnx"]
    seconds, losses, memory = ([], []), ([], []), ([], [])
    for _ in range(arguments.rounds):
        measured = run(list(map(str, theirs)))
        taken, loss = map(float, measured.printed.split())
        own = run(list(map(str, ours)))
        for side, values in enumerate([(taken, loss, measured), (own.seconds, None, own)]):
            seconds[side].append(values[0])
            memory[side].append(values[2].memory)
        losses[0].append(loss)
        losses[1].append(float(own.printed.split("training loss ")[1].split(",")[0]))
    ratio = min(seconds[1]) / min(seconds[0])
    print(f"training: {ratio:.2f} times PyTorch's time for one epoch")
    for side, name in enumerate(["PyTorch", "gradkin"]):
        print(
            f"  {name:8} {min(seconds[side]):8.2f} s {min(memory[side]) / 2**20:8.0f} MiB"
            f"  mean loss over the epoch {np.mean(losses[side]):.4f}",
            flush=True,
        )


def difference(folder: Path) -> float:
    """The largest difference of the two results, relative to the largest entry."""
    ours, theirs = np.load(folder / "gradkin.npy"), np.load(folder / "pytorch.npy")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def compare(task: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Runs both in turns and prints the ratios, then what they are made of."""
    turns = range(arguments.rounds)
    pairs = [
        (run_pytorch(task, arguments, folder), run_gradkin(task, arguments, folder)) for _ in turns
    ]
    pytorch, gradkin = ([pair[side] for pair in pairs] for side in (0, 1))
    seconds = [min(run.seconds for run in runs) for runs in (pytorch, gradkin)]
    memory = [min(run.memory for run in runs) for runs in (pytorch, gradkin)]
    faster, smaller = seconds[0] / seconds[1], memory[0] / memory[1]
    print(f"{task}: {faster:.2f} times as fast, 1/{smaller:.1f} of the memory")
    for name, time_taken, peak in zip(["PyTorch", "gradkin"], seconds, memory, strict=True):
        print(f"  {name:8} {time_taken:8.2f} s {peak / 2**20:8.0f} MiB")
    print(f"  largest difference {difference(folder):.1e} of the largest entry", flush=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="the paper's MNIST network, .onnx")
    parser.add_argument("images", type=Path, help="MNIST images, gzipped IDX")
    parser.add_argument("--gradkin", default="target/release/gradkin", help="its program")
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--divisor", type=float, default=255, help="what pixels are divided by")
    parser.add_argument("--outputs", default="sum", help="sum, mean or an output's index")
    parser.add_argument("--chunk", type=int, default=100, help="PyTorch's examples at once")
    parser.add_argument("--rounds", type=int, default=3)
    tasks = [*GRADKIN_ARGUMENTS, "training"]
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=[*GRADKIN_ARGUMENTS])
    parser.add_argument("--labels", type=Path, help="labels of the images, gzipped IDX")
    parser.add_argument("--training", type=int, default=60000, help="images to train with")
    return parser.parse_args()


def main() -> None:
    """Compares the two on each task."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = read_images(arguments.images, arguments.examples, arguments.divisor)
        np.save(folder / "data.npy", images)
        for task in arguments.tasks:
            if task == "training":
                if arguments.labels is None:
                    raise SystemExit("training needs --labels")
                images = read_images(arguments.images, arguments.training, arguments.divisor)
                np.save(folder / "data.npy", images)
                np.save(folder / "labels.npy", read_labels(arguments.labels, arguments.training))
                compare_training(arguments, folder)
            else:
                compare(task, arguments, folder)


if __name__ == "__main__":
    main()
