"""Models whose values, dtypes or weights are odd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver


class _Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)
        self.odd: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Any:
        return self.odd(self.lin(x))


class _Does(nn.Module):
    """A layer made of a function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def batch_norm_eval() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 6), nn.BatchNorm1d(6))
    model[1].eval()
    return model


def spectral() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.ReLU(inplace=True))


def old_spectral() -> nn.Module:
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 4)), nn.ReLU())


class FakeQuantized(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.odd = FakeQuantize(observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255)


def lazy() -> nn.Module:
    model = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.ReLU())
    model(torch.randn(3, 4))
    return model


def script_child() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU())), nn.Linear(4, 2))


class Cast(_Linear):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.odd = _Does(lambda x: (x.to(dtype), x))


class Complex(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.odd = _Does(torch.fft.fft)

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).abs()


class Sparse(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.odd = _Does(lambda x: torch.relu(x).to_sparse())

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).to_dense()


class Quantised(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.odd = _Does(lambda x: torch.quantize_per_tensor(x.detach(), 0.1, 10, torch.quint8))


class Integers(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.odd = _Does(lambda x: (x.argmax(1), x > 0, x.to(torch.uint8)))


class NotFinite(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.odd = _Does(lambda x: torch.cat([x / 0.0, x * float("nan"), -x / 0.0], 1))


class Constant(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.odd = _Does(lambda x: x * 0 + 7)


class Empty(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.odd = _Does(lambda x: (x[:0], x[:, :0], x))


class Scalar(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.odd = _Does(torch.mean)


class Expanded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(1, 1)
        self.odd = _Does(lambda x: x.expand(3, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.odd(self.lin(x))


class Autocast(_Linear):
    def forward(self, x: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            y = self.lin(x)
        return self.odd(y.float())


class PartlyNoGrad(_Linear):
    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            y = self.lin(x)
        return self.odd(self.lin(y))


class PartlyInference(_Linear):
    def forward(self, x: Tensor) -> Any:
        with torch.inference_mode():
            return self.odd(self.lin(x))
