"""Padded batches: torch's fused path packs them into nested tensors, which a look unpacks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnwidget.errors import UnobservableError
from nnwidget.model.edits import Scale
from nnwidget.model.replay import Replayer

ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
# Said by torch once in a process, of its own fused path too.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


class Padded(nn.Module):
    """Encodes a padded batch, as text models do."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        return self.head(self.encoder(x, src_key_padding_mask=padding)[:, 0])


WORDS = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(2))
PADDING = torch.tensor([[False] * 3 + [True] * 2, [False] * 4 + [True], [False] * 5])


@pytest.mark.parametrize("layer", ["encoder.layers.0", "encoder.layers.1", "encoder.layers.0.linear1"])
@pytest.mark.parametrize("keyed", [False, True])
def test_a_padded_batch_is_seen_and_edited_as_the_padded_batch_it_is(layer: str, keyed: bool) -> None:
    model = Padded().eval()
    kept: list[Tensor] = []
    # With gradients the fused path is off.
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, out: kept.append(out.detach()))
    model(WORDS, PADDING)
    handle.remove()

    def halve(_module: nn.Module, _inputs: Any, out: Tensor) -> Tensor:
        out = out.clone()
        out[..., 2] *= 0.5
        return out

    handle = model.get_submodule(layer).register_forward_hook(halve)
    edited = model(WORDS, PADDING).detach()
    handle.remove()
    replayer = Replayer(model)
    if keyed:
        # A cut at hand that was recorded while nobody looked inside.
        for _ in range(2):
            replayer.run((WORDS, PADDING), observe=["head"], edits={"head": Scale(0.5)}, key=0)
        for _ in range(2):
            replay = replayer.run((WORDS, PADDING), observe=["head"], edits={"encoder": Scale(1.0)}, key=0)
    replay = replayer.run((WORDS, PADDING), observe=[layer])
    assert "fused attention path off" in replay.note
    assert replay.outputs[layer][0].shape == kept[0].shape
    assert torch.allclose(replay.outputs[layer][0], kept[0], atol=1e-5)
    for _ in range(3):
        edits = {layer: Scale(0.5, channel=2)}
        replay = replayer.run((WORDS, PADDING), observe=[layer], edits=edits, key=0 if keyed else None)
        assert replay.error is None
        assert torch.allclose(replay.result, edited, atol=1e-5)
        assert torch.allclose(replay.outputs[layer][0][..., 2], kept[0][..., 2] * 0.5, atol=1e-5)
    means = Replayer(model).channel_means((WORDS, PADDING), {}, layer)
    assert torch.allclose(means, kept[0].mean((0, 1)), atol=1e-5)


def test_a_cut_recorded_on_the_fused_path_does_not_hide_what_is_asked_later() -> None:
    model = nn.Sequential(nn.Linear(8, 8), Padded().encoder).eval()
    replayer = Replayer(model, forward=lambda net, x: net[1](net[0](x), src_key_padding_mask=PADDING))
    for observe in (["0"], ["0"], ["1.layers.0"], ["1.layers.1.linear1"], ["1.layers.0"]):
        replay = replayer.run((WORDS,), observe=observe, edits={"0": Scale(0.5)}, key=0)
        assert replay.error is None
        assert [tuple(t.shape[:2]) for t in replay.outputs[observe[0]]] == [(3, 5)]


def test_nested_tensors_of_the_models_own_are_refused_by_name() -> None:
    class Ragged(nn.Module):
        """Packs rows of different lengths."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.nested.nested_tensor([x[0, :2], x[1]])

    model = nn.Sequential(nn.Linear(6, 6), Ragged())
    with pytest.raises(UnobservableError, match="layer '1' is a nested") as caught:
        Replayer(model).run((ROWS,), edits={"1": Scale(0.5)})
    assert caught.value.remedy
