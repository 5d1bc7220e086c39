"""The published autoencoder, restated plainly under the released names; for comparison only."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def norm(width: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, width, eps=1e-6)


class Block(nn.Module):
    def __init__(self, start: int, end: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(start, groups), nn.Conv2d(start, end, 3, padding=1)
        self.norm2, self.conv2 = norm(end, groups), nn.Conv2d(end, end, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(start, end, 1) if start != end else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (x if self.nin_shortcut is None else self.nin_shortcut(x)) + h


class Attention(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(width, groups), norm(width, groups)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        q, k, v = (layer(h).flatten(2) for layer in (self.q, self.k, self.v))
        weights = torch.softmax(q.transpose(1, 2) @ k / x.shape[1] ** 0.5, dim=-1)
        return x + self.proj_out((v @ weights.transpose(1, 2)).view_as(x))


class Middle(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.block_1, self.attn_1 = Block(width, width, groups), Attention(width, groups)
        self.block_2 = Block(width, width, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Resample(nn.Module):
    def __init__(self, width: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(width, width, 3, 1, 1) if up else nn.Conv2d(width, width, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            return self.conv(F.interpolate(x, scale_factor=2.0))
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    def __init__(self, start: int, end: int, count: int, groups: int, attends: bool) -> None:
        super().__init__()
        widths = [start] + [end] * count
        self.block = nn.ModuleList(Block(widths[n], end, groups) for n in range(count))
        self.attn = nn.ModuleList(Attention(end, groups) for _ in range(count * attends))

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[number](x)
        return x


class Encoder(nn.Module):
    def __init__(self, channels: tuple[int, ...], layers: int, groups: int) -> None:
        super().__init__()
        last = len(channels) - 1
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        starts = (channels[0], *channels[:-1])
        self.down = nn.ModuleList(
            Level(starts[n], channels[n], layers, groups, n == last) for n in range(last + 1)
        )
        for level in self.down[:-1]:
            level.downsample = Resample(level.block[-1].conv2.out_channels, up=False)
        self.mid = Middle(channels[-1], groups)
        self.norm_out = norm(channels[-1], groups)
        self.conv_out = nn.Conv2d(channels[-1], channels[-1], 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
            x = level.downsample(x) if hasattr(level, "downsample") else x
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, channels: tuple[int, ...], layers: int, groups: int) -> None:
        super().__init__()
        last = len(channels) - 1
        self.conv_in = nn.Conv2d(channels[-1], channels[-1], 3, padding=1)
        self.mid = Middle(channels[-1], groups)
        starts = (*channels[1:], channels[-1])
        self.up = nn.ModuleList(
            Level(starts[n], channels[n], layers + 1, groups, n == last) for n in range(last + 1)
        )
        for level in self.up[1:]:
            level.upsample = Resample(level.block[-1].conv2.out_channels, up=True)
        self.norm_out = norm(channels[0], groups)
        self.conv_out = nn.Conv2d(channels[0], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
            x = level.upsample(x) if hasattr(level, "upsample") else x
        return self.conv_out(F.silu(self.norm_out(x)))


class Codebook(nn.Module):
    def __init__(self, entries: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(entries, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        flat = tokens.permute(0, 2, 3, 1)
        nearest = torch.cdist(flat.flatten(0, 2), self.embedding.weight).argmin(-1)
        return self.embedding(nearest).view_as(flat).permute(0, 3, 1, 2)


class Autoencoder(nn.Module):
    def __init__(
        self, channels: tuple[int, ...], layers: int, entries: int, dim: int, groups: int
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, layers, groups)
        self.quantize = Codebook(entries, dim)
        self.quant_conv = nn.Conv2d(channels[-1], dim, 1)
        self.post_quant_conv = nn.Conv2d(dim, channels[-1], 1)
        self.decoder = Decoder(channels, layers, groups)

    def forward(self, x: Tensor) -> Tensor:
        quantized = self.quantize(self.quant_conv(self.encoder(x)))
        return self.decoder(self.post_quant_conv(quantized))


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Norms, biases and codebook are random too, so that none can be mixed up unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            elif "embedding" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            else:
                bound = parameter[0].numel() ** -0.5
                parameter.copy_(bound * torch.randn(parameter.shape, generator=generator))
    return model.eval()
