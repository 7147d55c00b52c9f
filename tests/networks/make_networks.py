"""Makes the reference networks of this folder: model, examples, outputs, kernel.

Weights are drawn in float32 and exported; outputs and the kernel are then
computed by autograd in float64, one backward pass per example and output.
Needs: pip install torch onnx onnxscript onnxruntime numpy
"""

import argparse
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import more_networks as more
import networks as net

SEED = 5
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Export:
    """How a network is written to ONNX.

    `optimize` off keeps BatchNormalization apart from the convolution before
    it, which the optimizer would otherwise fuse into other parameters.
    """

    opset: int = 20
    optimize: bool = True
    torchscript: bool = False
    batch_of_one: bool = False


@dataclass(frozen=True)
class Case:
    """A network, its examples, and the way it is exported."""

    build: Callable[[], nn.Module]
    examples: Callable[[], Tensor]
    export: Export = Export()


def images(*shape: int) -> Callable[[], Tensor]:
    """Draws normal examples of a shape, the batch first."""
    return lambda: torch.randn(shape)


def tokens(vocabulary: int, *shape: int) -> Callable[[], Tensor]:
    """Draws token ids of a shape, the batch first."""
    return lambda: torch.randint(vocabulary, shape)


UNFUSED = Export(optimize=False)
TORCHSCRIPT = Export(opset=17, torchscript=True)

CASES = {
    "inverted_residual": Case(net.InvertedResidual, images(4, 3, 16, 16), UNFUSED),
    "vision_transformer": Case(
        lambda: net.VisionTransformer(net.TorchAttention, 32, 2, 48), images(3, 3, 12, 12)
    ),
    "vision_transformer_dh8": Case(
        lambda: net.VisionTransformer(net.PackedAttention, 16, 2, 32), images(3, 3, 12, 12)
    ),
    "dense_groupnorm": Case(net.DenseGroupNorm, images(4, 2, 8, 8)),
    "audio_conv": Case(net.AudioConv, images(5, 2, 40)),
    "gru_tokens": Case(net.GruTokens, tokens(20, 5, 7)),
    "lstm_tokens": Case(net.LstmTokens, tokens(20, 5, 7)),
    "unrolled_cell": Case(net.GruCellUnrolled, images(5, 6, 4)),
    "lstm_cell": Case(net.LstmCellUnrolled, images(5, 6, 4)),
    "mlp_mixed": Case(net.MlpMixed, images(6, 5)),
    "batch1_torchscript": Case(
        net.BatchOfOne,
        images(4, 1, 8, 8),
        Export(opset=11, torchscript=True, batch_of_one=True),
    ),
    "transformer_decoder": Case(net.TransformerDecoder, tokens(9, 4, 7)),
    "segmentation": Case(net.Segmentation, images(3, 2, 8, 8)),
}

MORE_CASES = {
    "attention_opset23": Case(
        lambda: net.VisionTransformer(net.PackedAttention, 16, 2, 32),
        images(3, 3, 12, 12),
        Export(opset=23),
    ),
    "convnext": Case(more.ConvNext, images(4, 3, 12, 12)),
    "efficientnet": Case(more.EfficientNet, images(4, 3, 12, 12), UNFUSED),
    "encoder_layer": Case(more.EncoderLayer, images(4, 6, 5)),
    "encoder_layer_torchscript": Case(more.EncoderLayer, images(4, 6, 5), TORCHSCRIPT),
    "gru_torchscript": Case(net.GruTokens, tokens(20, 5, 7), TORCHSCRIPT),
    "lstm_torchscript": Case(net.LstmTokens, tokens(20, 5, 7), TORCHSCRIPT),
    "mlp_batchnorm1d": Case(more.MlpBatchNorm, images(6, 6), UNFUSED),
    "mlp_mixer": Case(more.MlpMixer, images(4, 3, 12, 12)),
    "pixel_shuffle": Case(more.PixelShuffle, images(4, 1, 6, 6)),
    "rms_decoder": Case(more.RmsDecoder, tokens(9, 4, 7), UNFUSED),
    "rms_decoder_opset23": Case(more.RmsDecoder, tokens(9, 4, 7), Export(opset=23, optimize=False)),
    "swin_window": Case(more.SwinWindow, images(4, 3, 8, 8), UNFUSED),
    "unet_bilinear": Case(more.UnetBilinear, images(3, 1, 7, 9)),
    "vision_transformer_torchscript": Case(
        lambda: net.VisionTransformer(net.TorchAttention, 16, 2, 24),
        images(3, 3, 12, 12),
        TORCHSCRIPT,
    ),
    "volume": Case(more.Volume, images(3, 1, 8, 8, 8), UNFUSED),
    "weight_norm": Case(more.WeightNormed, images(6, 5), UNFUSED),
}


def randomise_constants(model: nn.Module) -> None:
    """Moves every parameter and statistic that starts constant away from it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and parameter.std() == 0:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer += 0.3 * torch.randn_like(buffer)
            if name.endswith("running_var"):
                buffer += torch.rand_like(buffer)


def export_current(model: nn.Module, examples: Tensor, export: Export) -> onnx.ModelProto:
    """Exports with PyTorch's current exporter, the batch axis named `n`."""
    program = torch.onnx.export(
        model,
        (examples,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("n")},),
        opset_version=export.opset,
        optimize=export.optimize,
        verbose=False,
    )
    return program.model_proto


def export_torchscript(model: nn.Module, examples: Tensor, export: Export) -> onnx.ModelProto:
    """Exports with the TorchScript exporter, weights neither folded nor fused."""
    axes = {} if export.batch_of_one else {"x": {0: "n"}, "y": {0: "n"}}
    buffer = io.BytesIO()
    torch.onnx.export(
        model,
        (examples[:1] if export.batch_of_one else examples,),
        buffer,
        dynamo=False,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes=axes,
        opset_version=export.opset,
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
    )
    return onnx.load_from_string(buffer.getvalue())


def write_onnx(model: nn.Module, examples: Tensor, how: Export) -> onnx.ModelProto:
    """Exports a network, leaving out the stack traces that the exporter adds."""
    write = export_torchscript if how.torchscript else export_current
    proto = write(model, examples, how)
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    return proto


def outputs_and_kernel(model: nn.Module, examples: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """f(x) as [N, d] and K[i, j, a, b], one backward pass per example and output."""
    parameters = list(model.parameters())
    outputs, gradients = [], []
    for example in examples.split(1):
        output = model(example)[0]
        outputs.append(output.detach())
        gradients.append(torch.stack([flat_gradient(value, parameters) for value in output]))
    jacobian = torch.stack(gradients)
    kernel = torch.einsum("iap,jbp->ijab", jacobian, jacobian)
    return torch.stack(outputs).numpy(), kernel.numpy()


def flat_gradient(value: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The gradient of one number, all parameters in one vector."""
    gradients = torch.autograd.grad(value, parameters, retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def float_arrays(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Every floating-point initialiser of a file, by name."""
    arrays = {i.name: numpy_helper.to_array(i) for i in proto.graph.initializer}
    return {name: a for name, a in arrays.items() if a.dtype == np.float32}


def check_parameters(model: nn.Module, proto: onnx.ModelProto) -> list[str]:
    """Names the initialisers that hold parameters; fails if a parameter is lost.

    Values are compared as sets, since exporters transpose, reorder, cut and join.
    """
    known = {v for p in model.parameters() for v in p.detach().flatten().tolist()}
    arrays = float_arrays(proto)
    held = [name for name, a in arrays.items() if known.issuperset(a.flatten().tolist())]
    written = {v for name in held for v in arrays[name].flatten().tolist()}
    stored = sum(arrays[name].size for name in held)
    count = sum(p.numel() for p in model.parameters())
    if written != known or stored != count:
        lost = len(known - written)
        raise SystemExit(f"file holds {stored} of {count} parameters, {lost} values lost")
    return held


def check_outputs(model: nn.Module, proto: onnx.ModelProto, examples: Tensor, how: Export) -> float:
    """Compares onnxruntime with PyTorch in float32, at several batch sizes."""
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    name = session.get_inputs()[0].name
    worst = 0.0
    for size in [1] if how.batch_of_one else [1, 2, len(examples)]:
        for batch in examples.split(size):
            expected = model(batch).detach().numpy()
            found = session.run(None, {name: batch.numpy()})[0]
            worst = max(worst, float(np.abs(found - expected).max()))
    if worst > TOLERANCE:
        raise SystemExit(f"onnxruntime differs from PyTorch by {worst:.1e}")
    return worst


def describe(
    name: str, model: nn.Module, proto: onnx.ModelProto, held: list[str]
) -> dict[str, object]:
    """What meta.json says of a network."""
    arrays = float_arrays(proto)
    named = [key for key, _ in model.named_parameters()]
    return {
        "case": name,
        "seed": SEED,
        "parameters": sum(p.numel() for p in model.parameters()),
        "missing": [key for key in named if key not in arrays],
        "parameter_initialisers": sorted(held),
        "constant_initialisers": sorted(set(arrays) - set(held)),
        "ops": sorted({node.op_type for node in proto.graph.node}),
        "opset": next(o.version for o in proto.opset_import if o.domain == ""),
    }


def make(name: str, case: Case, folder: Path) -> None:
    """Writes one network's folder, after checking what it holds."""
    torch.manual_seed(SEED)
    model = case.build().eval()
    randomise_constants(model)
    examples = case.examples()
    proto = write_onnx(model, examples, case.export)
    held = check_parameters(model, proto)
    worst = check_outputs(model, proto, examples, case.export)
    meta = describe(name, model, proto, held)
    exact = examples.double() if examples.is_floating_point() else examples
    output, kernel = outputs_and_kernel(model.double(), exact)

    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, folder / "model.onnx")
    np.save(folder / "input.npy", examples.numpy())
    np.save(folder / "output.npy", output)
    np.save(folder / "kernel.npy", kernel)
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {meta['parameters']} parameters, {size} bytes, onnxruntime within {worst:.1e}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, metavar="FOLDER")
    parser.add_argument("--more", action="store_true", help="make the further networks instead")
    parser.add_argument("names", nargs="*", help="networks to make; all of them when left out")
    return parser.parse_args()


def main() -> None:
    """Makes the networks that the command line names."""
    arguments = parse_arguments()
    cases = MORE_CASES if arguments.more else CASES
    for name in arguments.names or cases:
        make(name, cases[name], arguments.into / name)


if __name__ == "__main__":
    main()
