"""Finds changed labels of MNIST: gradkin's score beside cleanlab's, on the same network.

A share of the training labels is changed, at random (to any other class) or by a confusion (0 →
6, 4 → 9 and so on), a small convolutional network is trained on the changed labels, and each
method ranks all 60,000 labels by doubt, from that network alone, on the very data that it was
trained on. Shown are the area under the ROC curve and the precision among as many labels as were
changed.

Networks are kept in --work and not trained again. Needs: pip install torch onnx onnxscript numpy
scikit-learn cleanlab pyarrow, and a release build of gradkin. The folder of --shared, or of
GRADKIN_SHARED, has data/mnist/*.gz. Examples:
    python benches/label_errors.py --shared ../shared --work /tmp/label_errors
    python benches/label_errors.py --shared ../shared --settings confusion:0.2 --epochs 40
"""

import argparse
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import roc_auc_score
from torch import nn

from mnist import MEAN, STD, images, labels, scaled

CLASSES = 10
CONFUSION = np.array([6, 7, 7, 5, 9, 6, 0, 1, 3, 4])
SETTINGS = tuple(
    f"{kind}:{share}" for kind in ("random", "confusion") for share in (0.05, 0.1, 0.2)
)
CLEANLAB = (
    ("self_confidence", False),
    ("self_confidence", True),
    ("normalized_margin", False),
    ("normalized_margin", True),
    ("confidence_weighted_entropy", False),
)
BATCH = 128


@dataclass(frozen=True)
class Setting:
    """How labels are changed."""

    kind: str
    share: float

    @classmethod
    def parse(cls, text: str) -> "Setting":
        """From the command line: random:0.1."""
        kind, share = text.split(":")
        return cls(kind, float(share))

    def change(self, given: np.ndarray) -> np.ndarray:
        """Labels of which the share is wrong."""
        rng = np.random.default_rng(7)
        chosen = rng.choice(len(given), round(self.share * len(given)), replace=False)
        changed = given.copy()
        if self.kind == "random":
            changed[chosen] = (given[chosen] + rng.integers(1, CLASSES, len(chosen))) % CLASSES
        else:
            changed[chosen] = CONFUSION[given[chosen]]
        return changed


class Network(nn.Module):
    """Two convolutions and two linear layers, 46,730 parameters; logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5)
        self.conv2 = nn.Conv2d(16, 32, 5)
        self.fc1 = nn.Linear(512, 64)
        self.fc2 = nn.Linear(64, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of images [N, 1, 28, 28]."""
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def train(x: torch.Tensor, given: np.ndarray, epochs: int) -> Network:
    """Adam on the cross-entropy, nothing else."""
    torch.manual_seed(0)
    network, y = Network(), torch.from_numpy(given)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(network(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


def prepare(setting: Setting, arguments: argparse.Namespace) -> Path:
    """The folder with labels.npy, probabilities.npy and model.onnx of a setting."""
    folder = arguments.work / f"{setting.kind}_{setting.share:g}_{arguments.epochs}"
    if (folder / "model.onnx").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    x = scaled(images(arguments.shared, "train"))
    given = setting.change(labels(arguments.shared, "train"))
    network = train(x, given, arguments.epochs)
    with torch.no_grad():
        probabilities = torch.cat([network(part).softmax(1) for part in x.split(2000)]).numpy()
    np.save(folder / "labels.npy", given)
    np.save(folder / "probabilities.npy", probabilities)
    axes = ({0: torch.export.Dim("n")},)
    program = torch.onnx.export(
        network, (x[:2],), dynamo=True, optimize=False, dynamic_shapes=axes, verbose=False
    )
    program.save(str(folder / "model.onnx"))
    return folder


def gradkin_scores(folder: Path, arguments: argparse.Namespace) -> np.ndarray:
    """The column label_score of `gradkin labels`."""
    table = folder / "gradkin.parquet"
    data = arguments.shared / "data/mnist/train-images-idx3-ubyte.gz"
    command = [arguments.gradkin, "labels", folder / "model.onnx", data]
    command += ["--labels", folder / "labels.npy", "--scale", "1/255"]
    command += ["--mean", MEAN, "--std", STD, "-o", table]
    command += ["--params", arguments.params] if arguments.params else []
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    columns = parquet.read_table(table)
    order = np.argsort(columns["example"].to_numpy())
    return columns["label_score"].to_numpy()[order]


def cleanlab_scores(given: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """cleanlab's scores, with class thresholds taken off where it offers that, and its own list."""
    scores = {}
    for method, adjust in CLEANLAB:
        name = f"cleanlab {method}" + (", adjusted" if adjust else "")
        scores[name] = get_label_quality_scores(
            given, probabilities, method=method, adjust_pred_probs=adjust
        )
    listed = find_label_issues(given, probabilities, return_indices_ranked_by="self_confidence")
    ranked = 1 + scores["cleanlab self_confidence"]
    ranked[listed] -= 1
    return scores | {"cleanlab find_label_issues": ranked}


def measure(score: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve, and precision at the number of wrong labels; low scores are doubts."""
    doubted = np.argsort(score, kind="stable")[: wrong.sum()]
    return roc_auc_score(wrong, -score), wrong[doubted].mean()


def compare(setting: Setting, arguments: argparse.Namespace) -> None:
    """Prints one setting's lines of the table."""
    folder = prepare(setting, arguments)
    given = np.load(folder / "labels.npy")
    probabilities = np.load(folder / "probabilities.npy")
    wrong = given != labels(arguments.shared, "train")
    fitted = (probabilities.argmax(1) == given)[wrong].mean()
    name = f"gradkin --params {arguments.params}" if arguments.params else "gradkin"
    scores = {f"**{name}**": gradkin_scores(folder, arguments)}
    scores |= cleanlab_scores(given, probabilities)
    for name, score in scores.items():
        area, precision = measure(score, wrong)
        changed = f"{setting.kind} {setting.share:.0%}"
        cells = (changed, f"{fitted:.1%}", name, f"{area:.5f}", f"{precision:.4f}")
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Parses the command line and compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = os.environ.get("GRADKIN_SHARED")
    parser.add_argument("--shared", type=Path, default=shared, required=shared is None)
    parser.add_argument("--gradkin", default="target/release/gradkin", help="the program")
    parser.add_argument(
        "--work", type=Path, default=Path("label_errors"), help="networks and tables"
    )
    parser.add_argument("--settings", nargs="+", default=SETTINGS, help="KIND:SHARE ...")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--params", help="which parameters gradkin compares, a regular expression")
    arguments = parser.parse_args()
    arguments.shared = Path(arguments.shared)
    torch.set_num_threads(1)
    print("| labels changed | of these fitted | score | area | precision |\n|---|---|---|---|---|")
    for setting in arguments.settings:
        compare(Setting.parse(setting), arguments)


if __name__ == "__main__":
    main()
