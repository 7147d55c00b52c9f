"""Times gradkin against PyTorch on networks of many kinds, and compares what they find.

Per network the correlation matrix of the first output over random examples, with random weights. PyTorch takes
per-example gradients with torch.func, vmap over grad, into one buffer, then one matrix product. Both run as
processes of their own, in turns; medians count. PyTorch's time leaves out import, reading and writing; gradkin's is
that of the whole process. Ratios come first in the table. Where a value lies on a ReLU's kink, two programs in
float32 may stand on its two sides: that example's gradient is another one, and its row and column differ.

Needs: pip install torch torchvision onnx onnxscript numpy, and a release build of gradkin. Example:
    python benches/other_networks.py --gradkin target/release/gradkin --work WORK --only vit mobilenet
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).with_name("against_peers")))
from measure import Failure, Run, run

PEER = Path(__file__).with_name("other_networks_peer.py")
NETWORKS = ["perceptron", "series", "lstm", "text", "vit", "mobilenet", "resnet18", "convnext"]
MIB = 2**20
LIMIT = 1800
"""Seconds that a run may take."""
HEADER = [
    *["time / gradkin's", "memory / gradkin's", "network", "parameters", "N", "torch.func, s"],
    *["gradkin, s", "torch.func, MiB", "gradkin, MiB", "largest difference", "examples > 1e-4"],
]


def started(command: list, threads: int) -> Run:
    """A process that ran to its end; its failure is ours."""
    with tempfile.NamedTemporaryFile() as log:
        try:
            return run(command, Path(log.name), LIMIT, {"OMP_NUM_THREADS": str(threads)})
        except Failure as failure:
            raise SystemExit(f"{failure}: {' '.join(map(str, command))}") from failure


def row(name: str, arguments: argparse.Namespace) -> list[str]:
    """A network's line of the table."""
    work, threads = arguments.work, ["--threads", arguments.threads]
    # PyTorch and arrays stay out of this process: what it starts begins with the memory of its parent as its peak.
    prepare, kernel, compare = (
        [sys.executable, PEER, task, name, work, *threads] for task in ("prepare", "kernel", "compare")
    )
    parameters, count = json.loads(started(prepare, arguments.threads).printed.splitlines()[-1])
    files = [work / f"{name}.onnx", work / f"{name}.npy"]
    options = ["--outputs", 0, "--kind", "correlation", "-o", work / f"{name}-gradkin.npy"]
    own = [arguments.gradkin, "kernel", *files, *options, *threads, "--quiet"]
    ours, theirs = [], []
    for _ in range(arguments.repeat):
        alone = started(own, 1)
        ours.append((alone.seconds, alone.memory / MIB))
        peer = started(kernel, arguments.threads)
        theirs.append((json.loads(peer.printed.splitlines()[-1]), peer.memory / MIB))
    gap, off = json.loads(started(compare, 1).printed)
    (seconds, memory), (own_seconds, own_memory) = (
        [median(values) for values in zip(*runs, strict=True)] for runs in (theirs, ours)
    )
    return [
        *[f"{seconds / own_seconds:.1f}", f"{memory / own_memory:.1f}", name, f"{parameters:,}"],
        *[str(count), f"{seconds:.2f}", f"{own_seconds:.2f}"],
        *[f"{memory:.0f}", f"{own_memory:.0f}"],
        *[f"{gap:.1e}", str(off)],
    ]


def main() -> None:
    """One line after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gradkin", type=Path, default=Path("target/release/gradkin"))
    parser.add_argument("--work", type=Path, required=True, help="networks, data, results")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, of which the median")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    lines = [row(name, arguments) for name in arguments.only]
    print("| " + " | ".join(HEADER) + " |")
    print("|" + " --- |" * len(HEADER))
    for line in lines:
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
