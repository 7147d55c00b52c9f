"""The networks of this folder: tiny, each built to hold one family of layers.

Sizes are chosen so that a kernel over all outputs stays a small file; the
weights are whatever PyTorch draws under the seed that `make_networks.py` sets.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Channel gates computed from the globally pooled input."""

    def __init__(self, channels: int, hidden: int, gate: nn.Module) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.reduce(self.pool(x)))
        return x * self.gate(self.expand(hidden))


class InvertedBlock(nn.Module):
    """Expand, depthwise convolution, squeeze-excitation, project, add."""

    def __init__(
        self, inner: tuple[int, int, int], kernel: int, stride: int, act: nn.Module, gate: nn.Module
    ) -> None:
        super().__init__()
        before, wide, after = inner
        self.residual = stride == 1 and before == after
        depthwise = nn.Conv2d(
            wide, wide, kernel, stride, padding=kernel // 2, groups=wide, bias=False
        )
        self.body = nn.Sequential(
            nn.Conv2d(before, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            act,
            depthwise,
            nn.BatchNorm2d(wide, eps=1e-3),
            act,
            SqueezeExcitation(wide, wide // 4, gate),
            nn.Conv2d(wide, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class InvertedResidual(nn.Module):
    """A MobileNet in miniature, one block of either generation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.Hardswish()
        )
        self.blocks = nn.Sequential(
            InvertedBlock((8, 24, 8), 3, 1, nn.ReLU6(), nn.Sigmoid()),
            InvertedBlock((8, 32, 12), 5, 2, nn.Hardswish(), nn.Hardsigmoid()),
        )
        self.head = nn.Sequential(
            nn.Conv2d(12, 32, 1, bias=False), nn.BatchNorm2d(32), nn.Hardswish()
        )
        self.classifier = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))


class PackedAttention(nn.Module):
    """Self-attention with query, key and value in one linear map."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        n, t, dim = x.shape
        qkv = self.qkv(x).reshape(n, t, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(n, t, dim))


class TorchAttention(nn.Module):
    """Self-attention by PyTorch's own module."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class TransformerBlock(nn.Module):
    """Attention and a GELU perceptron, each behind a LayerNorm."""

    def __init__(self, attention: nn.Module, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches of 4 pixels, a class token, learned positions, two blocks."""

    def __init__(self, attention: type[nn.Module], dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, stride=4)
        self.class_token = nn.Parameter(0.5 * torch.randn(1, 1, dim))
        self.position = nn.Parameter(0.5 * torch.randn(1, 10, dim))
        blocks = [TransformerBlock(attention(dim, heads), dim, hidden) for _ in range(2)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        token = self.class_token.expand(x.shape[0], -1, -1)
        tokens = torch.cat([token, patches], 1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 0])


class DenseLayer(nn.Module):
    """Normalise, convolve, and keep the input beside the result."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


class DenseGroupNorm(nn.Module):
    """Two densely connected stages with an average-pooling transition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.stage1 = nn.Sequential(DenseLayer(8, 4), DenseLayer(12, 8), DenseLayer(20, 4))
        self.norm = nn.GroupNorm(6, 24)
        self.transition = nn.Conv2d(24, 12, 1, bias=False)
        self.pool = nn.AvgPool2d(2)
        self.stage2 = nn.Sequential(DenseLayer(12, 4), DenseLayer(16, 8))
        self.last_norm = nn.GroupNorm(1, 24)
        self.head = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stage1(self.stem(x))))
        x = self.stage2(self.pool(self.transition(x)))
        return self.head(F.relu(self.last_norm(x)).mean((2, 3)))


class AudioConv(nn.Module):
    """Strided, dilated and transposed 1-D convolutions, one of them used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(2, 8, 5, stride=2, padding=2)
        self.shared = nn.Conv1d(8, 8, 3, dilation=2, padding=2)
        self.up = nn.ConvTranspose1d(8, 6, 4, stride=3, padding=1, output_padding=1, groups=2)
        self.last = nn.Conv1d(6, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.down(x), 0.1)
        x = x + F.leaky_relu(self.shared(x))
        x = x + F.leaky_relu(self.shared(x))
        x = F.leaky_relu(self.up(x), 0.2)
        return self.last(x).mean(2)


class GruTokens(nn.Module):
    """A two-directional GRU over token embeddings, averaged over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.gru = nn.GRU(8, 10, batch_first=True, bidirectional=True)
        self.head = nn.Linear(20, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.gru(self.embedding(tokens))
        return self.head(states.mean(1))


class LstmTokens(nn.Module):
    """A two-layer LSTM over token embeddings, read at its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 10, num_layers=2, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(self.embedding(tokens))
        return self.head(hidden[-1])


class GruCellUnrolled(nn.Module):
    """One GRU cell stepped through the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 8)
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state)


class LstmCellUnrolled(nn.Module):
    """One LSTM cell stepped through the sequence, from a learned start."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(0.5 * torch.randn(8))
        self.cell = nn.LSTMCell(4, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.start.expand(x.shape[0], -1)
        memory = torch.zeros_like(hidden)
        for step in x.unbind(1):
            hidden, memory = self.cell(step, (hidden, memory))
        return self.head(hidden)


class MlpMixed(nn.Module):
    """A perceptron of smooth activations, with a learned scale and temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 16)
        self.scale = nn.Parameter(1 + 0.3 * torch.randn(16))
        self.second = nn.Linear(16, 12)
        self.third = nn.Linear(12, 12, bias=False)
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(12, 3)
        self.temperature = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        x = F.softplus(self.first(x)) * self.scale
        x = torch.sigmoid(self.second(x))
        x = self.dropout(F.silu(self.third(x)))
        return self.last(x) / self.temperature


class BatchOfOne(nn.Module):
    """A convolutional network whose flattening holds a batch of one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3)
        self.norm2 = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(32, 16)
        self.norm3 = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.relu(self.norm3(self.hidden(x.view(1, -1))))
        return self.head(x)


class RmsNorm(nn.Module):
    """Division by the root mean square, written out."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class CausalAttention(nn.Module):
    """Masked attention with rotated queries and keys; angles and mask are buffers."""

    def __init__(self, dim: int, heads: int, steps: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.k = nn.Linear(dim, dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        half = dim // heads // 2
        angles = torch.outer(torch.arange(steps), 100.0 ** (-torch.arange(half) / half))
        self.register_buffer("cos", angles.cos().repeat(1, 2))
        self.register_buffer("sin", angles.sin().repeat(1, 2))
        self.register_buffer("mask", torch.ones(steps, steps).triu(1).bool())

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def rotate(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cos + torch.cat([-second, first], -1) * self.sin

    def forward(self, x: Tensor) -> Tensor:
        q = self.rotate(self.split(self.q(x)))
        k = self.rotate(self.split(self.k(x)))
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        weights = scores.masked_fill(self.mask, float("-inf")).softmax(-1)
        mixed = weights @ self.split(self.v(x))
        return self.out(mixed.transpose(1, 2).flatten(2))


class GatedMlp(nn.Module):
    """The gated perceptron of decoder-only language models."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class DecoderBlock(nn.Module):
    """Causal attention and a gated perceptron, each behind a root-mean-square norm."""

    def __init__(self, dim: int, heads: int, steps: int) -> None:
        super().__init__()
        self.norm1 = RmsNorm(dim)
        self.attention = CausalAttention(dim, heads, steps)
        self.norm2 = RmsNorm(dim)
        self.mlp = GatedMlp(dim, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TransformerDecoder(nn.Module):
    """Next-token scores; the output map is the embedding table itself."""

    def __init__(self, steps: int = 7) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 16)
        self.blocks = nn.Sequential(*[DecoderBlock(16, 2, steps) for _ in range(2)])
        self.norm = RmsNorm(16)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.norm(self.blocks(self.embedding(tokens)))
        return F.linear(states[:, -1], self.embedding.weight)


class Segmentation(nn.Module):
    """Down twice and up by every kind of upsampling; scores averaged over space."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(2, 6, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.half_pixel = nn.Upsample(scale_factor=2, mode="bilinear")
        self.corners = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.nearest = nn.Upsample(scale_factor=2, mode="nearest")
        self.middle = nn.Conv2d(14, 8, 3, padding=1)
        self.transposed = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1)
        self.last = nn.Conv2d(22, 6, 3, padding=1)
        self.classes = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.down1(x))
        second = F.relu(self.down2(first))
        middle = F.relu(self.middle(torch.cat([self.half_pixel(second), first], 1)))
        ups = [self.corners(middle), self.nearest(middle), self.transposed(middle), x]
        return self.classes(F.elu(self.last(torch.cat(ups, 1)))).mean((2, 3))
