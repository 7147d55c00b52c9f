"""Runs gradkin and its Python peers on the same task and prints one Markdown table.

See README.md beside this file. Needs only Python; the peers come from PyPI into
environments under `--work`.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from environments import PEERS, Peer, install, python_of, versions
from measure import Failure, Run, run

HERE = Path(__file__).parent
TASKS = {
    "correlation": "--outputs 0 --kind correlation",
    "trace": "--kind inner --reduce trace",
}
MIB = 2**20

HEADER = [
    *["time / gradkin's", "memory / gradkin's", "peer", "N", "runs", "work, s"],
    *["process, s", "gradkin, s", "memory, MiB", "largest difference", "entries > 1e-5"],
    *["examples > 1e-5", "difference of the others", "error against float64"],
]


@dataclass
class Measured:
    """All runs of one program on one task."""

    work: list[float] = field(default_factory=list)
    process: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def add(self, measured: Run, work: float) -> None:
        """One more run."""
        self.work.append(work)
        self.process.append(measured.seconds)
        self.memory.append(measured.memory)


class Comparison:
    """The files and programs of one call."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Finds the model and the images in the shared data."""
        self.arguments = arguments
        self.work: Path = arguments.work.resolve()
        self.model = found(arguments.shared, "paper_cnn/model.onnx")
        self.images = found(arguments.shared, "t10k-images-idx3-ubyte.gz")
        self.scripts = {
            "PYTHONPATH": str(HERE.parent),
            "OMP_NUM_THREADS": str(arguments.threads),
            "OPENBLAS_NUM_THREADS": str(arguments.threads),
        }
        for folder in ("data", "results", "logs"):
            (self.work / folder).mkdir(parents=True, exist_ok=True)

    def python(self, base: str, script: str, words: list, log: str) -> Run:
        """One of the scripts beside this one, in an environment."""
        command = [python_of(base, self.work), HERE / script, *words]
        return run(command, self.work / "logs" / log, self.arguments.limit, self.scripts)

    def data(self, count: int, kind: str = "") -> Path:
        """The first examples."""
        return self.work / "data" / f"data{count}{kind}.npy"

    def result(self, name: str, task: str, count: int) -> Path:
        """A program's matrix."""
        return self.work / "results" / f"{name}-{task}-{count}.npy"

    def prepare(self, counts: list[int]) -> None:
        """Writes the examples of each count."""
        words = [self.images, self.work / "data", *counts]
        self.python("torch", "prepare.py", words, "prepare.txt")

    def gradkin(self, task: str, count: int) -> Run:
        """gradkin, start to end."""
        files = [self.model.resolve(), self.data(count)]
        options = [*TASKS[task].split(), "-o", self.result("gradkin", task, count), "--quiet"]
        threads = ["--threads", self.arguments.threads]
        command = [self.arguments.gradkin, "kernel", *files, *options, *threads]
        return run(command, self.work / "logs" / "gradkin.txt", self.arguments.limit)

    def peer(self, name: str, task: str, count: int) -> tuple[Run, float]:
        """A peer: its process and the seconds that it measured itself."""
        return self.job(PEERS[name], task, self.data(count), self.result(name, task, count))

    def job(self, peer: Peer, task: str, data: Path, result: Path) -> tuple[Run, float]:
        """One peer on one file."""
        words = [peer.module, task, self.model, data, result, "--threads", self.arguments.threads]
        measured = self.python(peer.base, "job.py", words, f"{result.stem}.txt")
        return measured, json.loads(measured.printed.splitlines()[-1])["seconds"]

    def truth(self, task: str) -> None:
        """The float64 kernel of the first examples, by torch.func."""
        count = self.arguments.truth_n
        data, result = self.data(count, "f64"), self.result("truth", task, count)
        self.job(PEERS["torch.func"], task, data, result)

    def agreement(self, name: str, task: str, count: int) -> dict:
        """What compare.py says of a program's matrix."""
        matrices = [self.result(program, task, count) for program in ("gradkin", name)]
        words = [*matrices, self.result("truth", task, self.arguments.truth_n)]
        return json.loads(self.python("torch", "compare.py", words, "compare.txt").printed)


def found(folder: Path, ending: str) -> Path:
    """The one file of the shared data whose path ends so."""
    files = sorted(folder.rglob(ending))
    if not files:
        raise SystemExit(f"no {ending} under {folder}")
    return files[0]


def say(line: str) -> None:
    """Progress goes to stderr: stdout is the table's."""
    print(line, file=sys.stderr, flush=True)


def turns(comparison: Comparison, name: str, task: str, count: int) -> tuple[Measured, Measured]:
    """gradkin and the peer in turns, so that both meet the same machine."""
    ours, theirs = Measured(), Measured()
    for _ in range(comparison.arguments.repeat):
        if sum(theirs.process) > comparison.arguments.patience:
            break
        own = comparison.gradkin(task, count)
        ours.add(own, own.seconds)
        theirs.add(*comparison.peer(name, task, count))
        say(f"  {task} {name} N={count}: gradkin {own.seconds:.2f} s, peer {theirs.work[-1]:.2f} s")
    return ours, theirs


def row(name: str, count: int, ours: Measured, theirs: Measured, agreement: dict) -> list[str]:
    """A line of the table; gradkin's time is that of its whole process."""
    work, process, own = median(theirs.work), median(theirs.process), median(ours.process)
    memory, own_memory = median(theirs.memory), median(ours.memory)
    return [
        *[f"{work / own:.1f}", f"{memory / own_memory:.1f}", name, str(count)],
        *[
            str(len(theirs.work)),
            f"{work:.2f}",
            f"{process:.2f}",
            f"{own:.2f}",
            f"{memory / MIB:.0f}",
        ],
        *[f"{agreement['largest']:.1e}", str(agreement["noticed"]), str(agreement["rows"])],
        *[f"{agreement['elsewhere']:.1e}", f"{agreement['error']:.1e}"],
    ]


def table_of(comparison: Comparison, task: str, names: list[str]) -> tuple[list, list[str]]:
    """The lines of one task, and a note for each peer that gave none."""
    arguments = comparison.arguments
    comparison.truth(task)
    lines, notes, everywhere = [], [], Measured()
    for name in names:
        count = arguments.peer_n if task in PEERS[name].few else arguments.n
        try:
            ours, theirs = turns(comparison, name, task, count)
            lines.append(row(name, count, ours, theirs, comparison.agreement(name, task, count)))
        except Failure as failure:
            notes.append(f"{name}, {task}, N={count}: {failure}")
            continue
        if count == arguments.n:
            for runs, more in zip(vars(everywhere).values(), vars(ours).values(), strict=True):
                runs.extend(more)
        else:
            scaled = median(theirs.work) * (arguments.n / count) ** 2
            notes.append(
                f"{name}, {task}: its cost is that of the pairs, so N={arguments.n} "
                f"would take about {scaled:.0f} s (scaled by N², not measured)"
            )
    if everywhere.work:
        agreement = comparison.agreement("gradkin", task, arguments.n)
        lines.insert(0, row("gradkin", arguments.n, everywhere, everywhere, agreement))
    return lines, notes


def print_lines(task: str, lines: list[list[str]]) -> None:
    """The task's lines of the table."""
    for line in lines:
        print("| " + " | ".join([task, *line]) + " |", flush=True)


def processor() -> str:
    """Its name, where Linux tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} processors)" if names else platform.processor()


def use_processors(count: int) -> None:
    """All that is started from here may use that many; JAX knows no other way."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def install_all(names: list[str], work: Path) -> tuple[list[str], list[str]]:
    """The peers that are there, and a note for each that is not."""
    present, notes = [], []
    install("torch", (), work)
    for name in names:
        try:
            install(PEERS[name].base, PEERS[name].requirements, work)
            present.append(name)
        except RuntimeError as error:
            notes.append(f"{name} left out, not installed: {error}")
    return present, notes


def packages(names: list[str], work: Path) -> str:
    """The installed versions of all that took part."""
    told = []
    for base, core in [("torch", ["torch"]), ("jax", ["jax", "jaxlib"])]:
        wanted = {r for name in names if PEERS[name].base == base for r in PEERS[name].requirements}
        used = any(PEERS[name].base == base for name in names)
        if used:
            names_only = sorted(r.split("==")[0].split("[")[0] for r in wanted)
            told.append(versions(base, [*core, "numpy", *names_only], work))
    return "; ".join(told)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="holds paper_cnn and MNIST")
    parser.add_argument("--gradkin", type=Path, default=Path("target/release/gradkin"))
    parser.add_argument("--work", type=Path, required=True, help="environments, data, results")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=PEERS, default=[*PEERS])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS])
    parser.add_argument("--n", type=int, default=1000, help="examples")
    parser.add_argument("--peer-n", type=int, default=100, help="examples of peers of N² passes")
    parser.add_argument("--truth-n", type=int, default=200, help="examples in float64")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each, of which the median")
    parser.add_argument("--patience", type=float, default=150, help="no repeat after seconds")
    parser.add_argument("--limit", type=float, default=1800, help="seconds a run may take")
    return parser.parse_args()


def main() -> None:
    """Installs, runs, prints."""
    arguments = parse_arguments()
    comparison = Comparison(arguments)
    names, notes = install_all(arguments.only, comparison.work)
    use_processors(arguments.threads)
    comparison.prepare(sorted({arguments.n, arguments.peer_n, arguments.truth_n}))
    tables = []
    for task in arguments.tasks:
        lines, more = table_of(comparison, task, names)
        tables.append((task, lines))
        notes += more
    version = run([arguments.gradkin, "--version"], comparison.work / "logs" / "gradkin.txt", 60)
    print(f"{processor()}, {arguments.threads} threads, medians of runs in turns")
    print(f"{version.printed.strip()}; Python {platform.python_version()}")
    print(packages(names, comparison.work) + "\n")
    print("| " + " | ".join(["task", *HEADER]) + " |")
    print("|" + " --- |" * (len(HEADER) + 1))
    for task, lines in tables:
        print_lines(task, lines)
    print("".join(f"\n- {note}" for note in notes))


if __name__ == "__main__":
    main()
