"""The JAX twin of the network and its kernel by one implementation of neural-tangents."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
import onnx
from onnx import numpy_helper

Parameters = list[jax.Array]


def read_parameters(model: Path) -> Parameters:
    """The weights in the order of the nodes that use them."""
    graph = onnx.load(model).graph
    arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    used = [arrays[name] for node in graph.node for name in node.input if name in arrays]
    return [jnp.asarray(array) for array in used if array.dtype == np.float32]


def turned(parameters: Parameters) -> Parameters:
    """With linear weights as [in, out], where ONNX has [out, in].

    Turned inside the network, a weight would be a value like any other, its
    structure lost to STRUCTURED_DERIVATIVES: three times its time. To the
    whole Jacobian [out, in] suits better, by a third. Each gets its own.
    """
    return [array.T.copy() if array.ndim == 2 else array for array in parameters]


def convolution(values: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    """A convolution without padding, channels first."""
    result = jax.lax.conv_general_dilated(
        values, weight, (1, 1), "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW")
    )
    return result + bias.reshape(1, -1, 1, 1)


def prelu(values: jax.Array, slope: jax.Array) -> jax.Array:
    """PReLU with one slope."""
    return jnp.where(values > 0, values, slope.reshape(()) * values)


def average_pool(values: jax.Array) -> jax.Array:
    """The mean of each 2×2 square."""
    n, channels, height, width = values.shape
    return values.reshape(n, channels, height // 2, 2, width // 2, 2).mean((3, 5))


def network(parameters: Parameters, values: jax.Array) -> jax.Array:
    """The paper's MNIST network, its linear weights turned."""
    w1, b1, s1, w2, b2, s2, w3, b3, s3, w4, b4 = parameters
    values = average_pool(prelu(convolution(values, w1, b1), s1))
    values = average_pool(prelu(convolution(values, w2, b2), s2))
    values = prelu(values.reshape(len(values), -1) @ w3 + b3, s3)
    return values @ w4 + b4


def compiled_kernel(
    model: Path, data: np.ndarray, outputs: range, implementation: nt.NtkImplementation
) -> Callable[[], np.ndarray]:
    """The work, compiled beforehand: the kernel of one output after the other.

    All outputs at once take no less time on a processor, and more memory.
    """
    structured = implementation is nt.NtkImplementation.STRUCTURED_DERIVATIVES
    parameters = read_parameters(model)
    parameters = turned(parameters) if structured else parameters

    def of_output(values: jax.Array, parameters: Parameters, output: int) -> jax.Array:
        def chosen(parameters: Parameters, values: jax.Array) -> jax.Array:
            weights = parameters if structured else [p.T if p.ndim == 2 else p for p in parameters]
            return jax.lax.dynamic_slice_in_dim(network(weights, values), output, 1, 1)

        of_pair = nt.empirical_ntk_fn(chosen, vmap_axes=0, implementation=implementation)
        return of_pair(values, None, parameters)

    compiled = jax.jit(of_output).lower(data, parameters, 0).compile()
    return lambda: sum(np.asarray(compiled(data, parameters, output)) for output in outputs)
