"""How much of the label noise is averaged away: predicted from similarities, checked against the truth.

Small networks learn smooth functions from noisy labels ŷ = y + ε of known deviation σ, down to a
stationary point of the squared loss. There the kernel averages of predictions and of noisy labels
agree, E_k[f] = E_k[ŷ] (inner kernel), and independent noise reaches the average at x_j as σ·D_j,
the denoising factor. The kernels come from gradkin; the clean targets serve only to check.

What is compared with σ·D_j, over examples:
- one draw:  |E_k[ŷ] − E_k[y]| of one network, its own training noise
- networks:  the root mean square of that over networks trained on draws of their own
- fresh:     the same for one network and many draws that it never saw
- network f: |f(x_j) − y_j| itself, which has the shift f − E_k[f] in it as well

Needs: pip install torch onnx numpy scipy (matplotlib for --figure), and gradkin. Examples:
    python benches/denoising.py --gradkin target/release/gradkin
    python benches/denoising.py --fixtures tests/denoising
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, checker, helper, numpy_helper
from scipy.optimize import least_squares
from torch import nn
from torch.func import functional_call, grad, hessian

ADAM_STEPS = 2000
NEWTON_STEPS = 60
OPSET, IR_VERSION = 20, 9
FRESH_DRAWS = 200
# Where the similarities cancel to less than this part of their size, no average is taken.
CANCELLED = 0.01


@dataclass(frozen=True)
class Task:
    """A function to learn and the network that learns it."""

    name: str
    examples: int
    inputs: int
    outputs: int
    width: int
    activation: type

    def target(self, x: np.ndarray) -> np.ndarray:
        """Clean targets [N, outputs] of inputs [N, inputs]."""
        angle = 3 * x.sum(1)
        columns = [np.sin(angle) + 0.5 * x[:, 0] ** 2, np.cos(2 * x[:, -1]) * x[:, 0]]
        return np.stack(columns[: self.outputs], 1)

    def data(self, seed: int) -> np.ndarray:
        """Inputs; the same for every network of the task."""
        return np.random.default_rng(seed).uniform(-1, 1, (self.examples, self.inputs))

    def network(self) -> nn.Sequential:
        """A fresh network, float64."""
        layers = [nn.Linear(self.inputs, self.width), self.activation()]
        layers += [nn.Linear(self.width, self.width), self.activation()]
        return nn.Sequential(*layers, nn.Linear(self.width, self.outputs)).double()


TASKS = (
    Task("1-D, tanh", 512, 1, 1, 8, nn.Tanh),
    Task("2-D, tanh", 512, 2, 1, 8, nn.Tanh),
    Task("2-D, 2 targets, GELU", 512, 2, 2, 8, nn.GELU),
)
FIXTURES = (
    ("a", Task("", 256, 1, 1, 6, nn.Tanh), 0.3),
    ("b", Task("", 256, 2, 2, 6, nn.Tanh), 0.1),
    ("c", Task("", 256, 2, 1, 6, nn.GELU), 1.0),
)


def train(task: Task, x: np.ndarray, labels: np.ndarray, seed: int) -> tuple[nn.Module, float]:
    """A network at a stationary point of the squared loss, and the norm of the gradient left there."""
    torch.manual_seed(seed)
    network = task.network()
    inputs, labels = torch.from_numpy(x), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(ADAM_STEPS):
        loss = (network(inputs) - labels).square().sum(1).mean() / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network, settle(network, inputs, labels)


def settle(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Newton steps towards the nearest point without gradient; the norm of what is left of it.

    Descent would follow the flat valleys of an unregularised loss for a very long time instead.
    """
    shapes = {name: value.shape for name, value in network.named_parameters()}
    start = nn.utils.parameters_to_vector(network.parameters()).detach()

    def loss(parameters: torch.Tensor) -> torch.Tensor:
        parts = parameters.split([shape.numel() for shape in shapes.values()])
        values = {name: part.view(shapes[name]) for name, part in zip(shapes, parts)}
        outputs = functional_call(network, values, inputs)
        return (outputs - labels).square().sum(1).mean() / 2

    def numbers(function: Callable) -> Callable:
        return lambda parameters: function(torch.from_numpy(parameters)).numpy()

    found = least_squares(
        numbers(grad(loss)),
        start.numpy(),
        jac=numbers(hessian(loss)),
        method="lm",
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
        max_nfev=NEWTON_STEPS,
    )
    nn.utils.vector_to_parameters(torch.from_numpy(found.x), network.parameters())
    return float(np.linalg.norm(found.fun))


def export(task: Task, network: nn.Sequential, path: Path) -> None:
    """Writes the network as ONNX, any batch size, float64."""
    operator = {nn.Tanh: "Tanh", nn.GELU: "Gelu"}[task.activation]
    nodes, tensors, value = [], [], "x"
    for at, layer in enumerate(network):
        if isinstance(layer, nn.Linear):
            names = [f"{at}.weight", f"{at}.bias"]
            parameters = [part.detach().numpy() for part in (layer.weight, layer.bias)]
            tensors += map(numpy_helper.from_array, parameters, names)
            nodes.append(helper.make_node("Gemm", [value, *names], [f"value{at}"], transB=1))
        else:
            nodes.append(helper.make_node(operator, [value], [f"value{at}"]))
        value = f"value{at}"
    ends = [("x", task.inputs), (value, task.outputs)]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", width])]
        for name, width in ends
    )
    graph = helper.make_graph(nodes, "denoising", inputs, outputs, tensors)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def kernel(gradkin: str, model: Path, data: Path, result: Path) -> np.ndarray:
    """The inner kernel [N, N, d, d] of all pairs."""
    command = [gradkin, "kernel", model, data, "--kind", "inner", "--reduce", "none"]
    command += ["--dtype", "f64", "-o", result]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    values = np.load(result).astype(np.float64)
    return values if values.ndim == 4 else values[:, :, None, None]


class Average:
    """The kernel average E_k: A_ji = (Σ_i K(j,i))⁻¹ K(j,i), where that sum does not cancel."""

    def __init__(self, values: np.ndarray):
        total = values.sum(1)
        smallest = np.linalg.svd(total, compute_uv=False)[:, -1]
        size = np.linalg.norm(values, axis=(2, 3)).sum(1)
        self.fine = smallest > CANCELLED * size
        self.weights = np.linalg.solve(total[self.fine][:, None], values[self.fine])

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """E_k of numbers [N, d]."""
        return np.einsum("jiab,ib->ja", self.weights, numbers)

    def factors(self) -> np.ndarray:
        """D: the root of the trace of Σ_i A_ji A_jiᵀ."""
        return np.sqrt(np.square(self.weights).sum((1, 2, 3)))


@dataclass(frozen=True)
class Trained:
    """One network with what is known of it."""

    average: Average
    noise: np.ndarray
    shift: np.ndarray
    predicted_error: np.ndarray
    stationary: float
    gradient: float


def learn(task: Task, sigma: float, seed: int, gradkin: str, folder: Path) -> Trained:
    """Trains on noise of its own and takes the kernel."""
    x = task.data(0)
    clean = task.target(x)
    noise = sigma * np.random.default_rng(1000 + seed).standard_normal(clean.shape)
    network, gradient = train(task, x, clean + noise, seed)
    np.save(folder / "x.npy", x)
    export(task, network, folder / "model.onnx")
    values = kernel(gradkin, folder / "model.onnx", folder / "x.npy", folder / "k.npy")
    with torch.no_grad():
        f = network(torch.from_numpy(x)).numpy()
    average = Average(values)
    shift = f[average.fine] - average.of(f)
    stationary = np.abs(average.of(f) - average.of(clean + noise)).max()
    error = np.linalg.norm(f - clean, axis=1)
    return Trained(average, noise, shift, error, stationary, gradient)


@dataclass(frozen=True)
class Fit:
    """How well predicted sizes match the ones seen."""

    correlation: float
    slope: float


def fit(predicted: np.ndarray, seen: np.ndarray) -> Fit:
    """Correlation over examples, and the slope of the line through zero on squares (1 is exact)."""
    slope = np.sqrt(np.square(seen).sum() / np.square(predicted).sum())
    return Fit(np.corrcoef(predicted, seen)[0, 1], slope)


def size(rows: np.ndarray) -> np.ndarray:
    """Lengths of the rows."""
    return np.linalg.norm(rows, axis=-1)


def compare(sigma: float, networks: list[Trained]) -> dict[str, Fit]:
    """Every comparison for one task and one σ."""
    one_draw, fresh, own = [], [], []
    rng = np.random.default_rng(5)
    for trained in networks:
        average = trained.average
        predicted = sigma * average.factors()
        one_draw.append(fit(predicted, size(average.of(trained.noise))))
        own.append(fit(predicted, trained.predicted_error[average.fine]))
        draws = sigma * rng.standard_normal((FRESH_DRAWS, *trained.noise.shape))
        squares = sum(np.square(size(average.of(draw))) for draw in draws)
        fresh.append(fit(predicted, np.sqrt(squares / FRESH_DRAWS)))
    predicted, seen = over_networks(sigma, networks)
    return {
        "one draw": mean(one_draw),
        "networks": fit(predicted, seen),
        "fresh": mean(fresh),
        "network f": mean(own),
    }


def mean(fits: list[Fit]) -> Fit:
    """Of correlations and of slopes."""
    return Fit(*(float(np.mean(values)) for values in zip(*map(astuple, fits))))


def over_networks(sigma: float, networks: list[Trained]) -> tuple[np.ndarray, np.ndarray]:
    """σ·D and the error of the averaged label, both as root mean squares over networks."""
    count = len(networks[0].noise)
    predicted, seen, used = np.zeros(count), np.zeros(count), np.zeros(count)
    for trained in networks:
        fine = trained.average.fine
        predicted[fine] += np.square(sigma * trained.average.factors())
        seen[fine] += np.square(size(trained.average.of(trained.noise)))
        used += fine
    kept = used == len(networks)
    return np.sqrt(predicted[kept] / used[kept]), np.sqrt(seen[kept] / used[kept])


def table(arguments: argparse.Namespace) -> dict:
    """Prints a line for each task and σ; the points of the figure."""
    columns = "one draw | networks | fresh | network f"
    print(f"| task | σ | left out | mean D | max abs E_k[f] − E_k[ŷ] | {columns} |")
    print("|---|---|---|---|---|---|---|---|---|")
    points = {}
    for task in TASKS:
        for sigma in arguments.sigma:
            with tempfile.TemporaryDirectory() as folder:
                networks = [
                    learn(task, sigma, seed, arguments.gradkin, Path(folder))
                    for seed in range(arguments.seeds)
                ]
            fits = compare(sigma, networks)
            factor = np.mean([trained.average.factors().mean() for trained in networks])
            out = 1 - np.mean([trained.average.fine.mean() for trained in networks])
            stationary = max(trained.stationary for trained in networks)
            cells = [f"{f.correlation:+.2f}, {f.slope:.2f}" for f in fits.values()]
            line = [
                task.name,
                f"{sigma:g}",
                f"{out:.1%}",
                f"{factor:.3f}",
                f"{stationary:.0e}",
                *cells,
            ]
            print("| " + " | ".join(line) + " |", flush=True)
            points[task.name, sigma] = over_networks(sigma, networks)
    return points


def draw(points: dict, path: Path) -> None:
    """Predicted against seen, one panel per task."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for name, _ in points))
    figure, panels = pyplot.subplots(1, len(names), figsize=(3.1 * len(names), 3.3), sharey=True)
    for panel, name in zip(panels, names):
        for (task, sigma), (predicted, seen) in points.items():
            if task == name:
                panel.loglog(predicted, seen, ".", ms=2, label=f"σ = {sigma:g}")
        ends = np.array(panel.get_xlim())
        panel.loglog(ends, ends, "k-", lw=0.8)
        panel.set(title=name, xlabel="predicted: σ · D")
    panels[0].set_ylabel("error of the averaged label")
    panels[0].legend(markerscale=4)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def write_fixtures(folder: Path) -> None:
    """Small trained networks for the tests."""
    for name, task, sigma in FIXTURES:
        x = task.data(7)
        clean = task.target(x)
        noisy = clean + sigma * np.random.default_rng(11).standard_normal(clean.shape)
        network, gradient = train(task, x, noisy, 3)
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        export(task, network, place / "model.onnx")
        for file, values in (("x", x), ("noisy", noisy), ("clean", clean)):
            np.save(place / f"{file}.npy", values)
        print(f"{place}: σ {sigma:g}, {task.examples} examples, gradient left {gradient:.1e}")


def main() -> None:
    """Parses the command line and does what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gradkin", default="target/release/gradkin", help="the program")
    parser.add_argument(
        "--sigma", type=float, nargs="+", default=[0.1, 0.3, 1.0], help="noise levels"
    )
    parser.add_argument(
        "--seeds", type=int, default=10, help="networks for each task and noise level"
    )
    parser.add_argument("--figure", type=Path, help="draws predicted against seen, .png")
    parser.add_argument("--fixtures", type=Path, help="writes the test fixtures there and stops")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.fixtures:
        write_fixtures(arguments.fixtures)
        return
    points = table(arguments)
    if arguments.figure:
        draw(points, arguments.figure)


if __name__ == "__main__":
    main()
