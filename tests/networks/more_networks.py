"""Further networks, for trying exporters out; not kept in this folder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from networks import GatedMlp, SqueezeExcitation


class EncoderLayer(nn.Module):
    """PyTorch's own encoder layer over a linear embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 12)
        self.layer = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True, norm_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x)).mean(1))


class ConvNextBlock(nn.Module):
    """Depthwise convolution, LayerNorm over channels, scaled residual branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.expand = nn.Linear(dim, 3 * dim)
        self.project = nn.Linear(3 * dim, dim)
        self.gamma = nn.Parameter(0.5 * torch.randn(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.project(F.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """A patch stem, two blocks, a normalised linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 2, stride=2)
        self.blocks = nn.Sequential(ConvNextBlock(12), ConvNextBlock(12))
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x)).mean((2, 3))))


class MlpBatchNorm(nn.Module):
    """Linear, BatchNorm1d and PReLU, ending in log-probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 16, bias=False),
            nn.BatchNorm1d(16),
            nn.PReLU(),
            nn.Linear(16, 12),
            nn.BatchNorm1d(12),
            nn.PReLU(12),
            nn.Linear(12, 3),
            nn.LogSoftmax(1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class SwinBlock(nn.Module):
    """Attention inside shifted windows, with a learned relative-position bias."""

    def __init__(self, dim: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.bias = nn.Parameter(0.5 * torch.randn((2 * window - 1) ** 2, heads))
        self.out = nn.Linear(dim, dim)
        at = torch.stack(torch.meshgrid([torch.arange(window)] * 2, indexing="ij")).flatten(1)
        steps = at[:, :, None] - at[:, None, :] + window - 1
        self.register_buffer("index", steps[0] * (2 * window - 1) + steps[1])

    def windows(self, x: Tensor) -> Tensor:
        n, height, width, dim = x.shape
        w = self.window
        x = x.reshape(n, height // w, w, width // w, w, dim).transpose(2, 3)
        return x.reshape(-1, w * w, dim)

    def image(self, x: Tensor, shape: torch.Size) -> Tensor:
        n, height, width, dim = shape
        w = self.window
        x = x.reshape(n, height // w, width // w, w, w, dim).transpose(2, 3)
        return x.reshape(n, height, width, dim)

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.bias[self.index].permute(2, 0, 1)
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2))
        y = self.image(self.attend(self.windows(y)), x.shape)
        return x + torch.roll(y, (self.shift, self.shift), (1, 2))


class SwinWindow(nn.Module):
    """One block of plain and one of shifted windows."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 2, stride=2)
        self.blocks = nn.Sequential(SwinBlock(12, 2, 2, 0), SwinBlock(12, 2, 2, 1))
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.patch(x).permute(0, 2, 3, 1)).mean((1, 2)))


class UnetBilinear(nn.Module):
    """Two levels, sized by interpolation to the skip's shape, with InstanceNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, 6, 3, padding=1, padding_mode="reflect")
        self.norm = nn.InstanceNorm2d(6, affine=True)
        self.middle = nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular")
        self.leave = nn.Conv2d(14, 6, 3, padding=1, padding_mode="replicate")
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.mish(self.norm(self.enter(x)))
        low = F.softsign(self.middle(F.max_pool2d(skip, 2, ceil_mode=True)))
        up = F.interpolate(low, size=skip.shape[2:], mode="bilinear")
        return self.last(F.selu(self.leave(torch.cat([up, skip], 1)))).amax((2, 3))


class MixerBlock(nn.Module):
    """Perceptrons across patches, then across channels."""

    def __init__(self, patches: int, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.across = nn.Sequential(nn.Linear(patches, 8), nn.GELU(), nn.Linear(8, patches))
        self.norm2 = nn.LayerNorm(dim)
        self.within = nn.Sequential(
            nn.Linear(dim, 20), nn.GELU(approximate="tanh"), nn.Linear(20, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.norm2(x))


class MlpMixer(nn.Module):
    """Two mixer blocks over four-pixel patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 10, 4, stride=4)
        self.blocks = nn.Sequential(MixerBlock(9, 10), MixerBlock(9, 10))
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


class EfficientNet(nn.Module):
    """One expanding block with SiLU throughout, BatchNorm and squeeze-excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8, eps=1e-3),
            nn.SiLU(),
            nn.Conv2d(8, 24, 1, bias=False),
            nn.BatchNorm2d(24),
            nn.SiLU(),
            nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False),
            nn.BatchNorm2d(24),
            nn.SiLU(),
            SqueezeExcitation(24, 4, nn.Sigmoid()),
            nn.Conv2d(24, 10, 1, bias=False),
            nn.BatchNorm2d(10),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(10, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class FusedAttention(nn.Module):
    """Causal attention in one call, with fewer heads for keys and values."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x).unflatten(2, (4, -1)).transpose(1, 2)
        k, v = self.kv(x).unflatten(2, (2, 2, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class RmsDecoder(nn.Module):
    """PyTorch's own RMSNorm around grouped causal attention; all steps' scores, tied."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, dim)
        self.norm1 = nn.RMSNorm(dim, eps=1e-6)
        self.attention = FusedAttention(dim)
        self.norm2 = nn.RMSNorm(dim, eps=1e-6)
        self.mlp = GatedMlp(dim, 20)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return F.linear(x, self.embedding.weight).mean(1)


class WeightNormed(nn.Module):
    """Weights split into length and direction; the parameters are those two."""

    def __init__(self) -> None:
        super().__init__()
        self.first = weight_norm(nn.Linear(5, 12))
        self.second = weight_norm(nn.Linear(12, 3))
        self.log_temperature = nn.Parameter(torch.tensor(-0.3))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x))) / self.log_temperature.exp()


class Volume(nn.Module):
    """3-D convolution with BatchNorm and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm3d(4)
        self.second = nn.Conv3d(4, 6, 2, stride=2)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool3d(F.relu(self.norm(self.first(x))), 2)
        return self.head(torch.tanh(self.second(x)).mean((2, 3, 4)))


class PixelShuffle(nn.Module):
    """Sub-pixel upsampling and its inverse, joined by an einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 3, padding=1)
        self.mixing = nn.Parameter(torch.randn(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_shuffle(F.gelu(self.first(x)), 2)
        x = self.last(F.pixel_unshuffle(x, 2))
        return torch.einsum("nchw,ck->nk", x, self.mixing)
