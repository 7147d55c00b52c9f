"""The peers, and the virtual environments that they run in.

Two environments, since neural-tangents needs a JAX of its own time. A peer that
cannot be installed is left out; the others go on.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BASES = {
    "torch": ["torch==2.15.0", "torchvision==0.29.2", "numpy==1.26.4", "onnx==1.23.2"],
    "jax": ["jax[cpu]==0.4.23", "numpy==1.26.4", "scipy==1.12.0", "onnx==1.23.2"],
}


@dataclass(frozen=True)
class Peer:
    """A module of peers/, and what it needs."""

    module: str
    base: str
    requirements: tuple[str, ...] = ()
    few: frozenset[str] = frozenset()
    """The tasks which it is given fewer examples for."""


NEURAL_TANGENTS = ("neural-tangents==0.6.5",)

PEERS = {
    "torch.func": Peer("torch_func", "torch"),
    "nngeometry": Peer("nngeometry", "torch", ("nngeometry==0.4",)),
    "trak": Peer("trak", "torch", ("traker==0.3.2",)),
    "opacus": Peer("opacus", "torch", ("opacus==1.6.0",)),
    "pydvl": Peer("pydvl", "torch", ("pydvl[influence]==0.10.0",)),
    "dattri": Peer("dattri", "torch", ("dattri==0.3.0",)),
    "nt-jacobian": Peer("neural_tangents_jacobian", "jax", NEURAL_TANGENTS),
    "nt-structured": Peer("neural_tangents_structured", "jax", NEURAL_TANGENTS),
    "nt-products": Peer(
        "neural_tangents_products", "jax", NEURAL_TANGENTS, frozenset({"correlation", "trace"})
    ),
}


def python_of(base: str, work: Path) -> Path:
    """The interpreter of an environment."""
    return work / "environments" / base / "bin" / "python"


def install(base: str, requirements: tuple[str, ...], work: Path) -> None:
    """Installs what is not there yet; what the base pins stays as it is."""
    python = python_of(base, work)
    done = python.parent.parent / "installed.txt"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
    present = done.read_text().splitlines() if done.exists() else []
    wanted = [name for name in [*BASES[base], *requirements] if name not in present]
    if not wanted:
        return
    print(f"installing {' '.join(wanted)}", file=sys.stderr, flush=True)
    command = [python, "-m", "pip", "install", "--quiet", *BASES[base], *requirements]
    finished = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if finished.returncode != 0:
        lines = finished.stderr.strip().splitlines() or ["pip failed"]
        raise RuntimeError(lines[-1][:200])
    done.write_text("\n".join([*present, *wanted]) + "\n")


def versions(base: str, names: list[str], work: Path) -> str:
    """The versions that are installed, as pip's metadata tells them."""
    script = "import sys; from importlib.metadata import version as v; "
    script += "print(', '.join(f'{n} {v(n)}' for n in sys.argv[1:]))"
    command = [python_of(base, work), "-c", script, *names]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
