"""Odd models and inputs: every case is a model that broke some observer once.

``CASES`` lists them; ``case.make()`` gives a fresh ``(model, args, kwargs)``, the same on every call.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.zoo import flows, layouts, values

Built = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One odd model.

    ``train`` says whether three steps of SGD on its floating point outputs make sense; ``fused`` that torch has a
    faster path in eval mode which any hook switches off; ``mode`` is the mode it is left in ("mixed": as it was built).
    """

    name: str
    build: Callable[[], Built]
    notes: str = ""
    train: bool = True
    fused: bool = False
    mode: str = "train"

    def make(self) -> Built:
        """Build it from a fixed seed; torch's warnings about old kinds of models are not the model's fault."""
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, args, kwargs = self.build()
        if self.mode != "mixed":
            model.train(self.mode == "train")
        return model, args, kwargs


def _of(model: Callable[[], nn.Module], *shapes: tuple[int, ...], **kwargs: Any) -> Callable[[], Built]:
    """Build from a constructor and the shapes of normal inputs."""
    return lambda: (model(), tuple(torch.randn(shape) for shape in shapes), dict(kwargs))


CASES: list[Case] = [
    Case("linear", _of(lambda: nn.Linear(4, 3), (2, 4))),
    Case("no parameters", _of(lambda: nn.Sequential(nn.ReLU(), nn.Flatten()), (2, 3, 2)), train=False),
    Case("identity returns its input", _of(nn.Identity, (2, 3)), train=False),
    Case("in-place relu", _of(flows.InPlace, (2, 3, 6, 6)), "the layer's output is overwritten by the next"),
    Case("in-place sum", _of(flows.AddsInPlace, (2, 4)), "out += x"),
    Case("in-place first layer", _of(lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)), (3, 4)), "input"),
    Case("views", _of(flows.Views, (2, 8)), "outputs are views of one storage"),
    Case("view then mutate", _of(flows.ViewThenMutate, (2, 8)), "a view is changed after it was returned"),
    Case("tuple and none", _of(flows.TupleAndNone, (2, 4))),
    Case("list and int", _of(flows.ListAndInt, (2, 4))),
    Case("dict output", _of(flows.DictOutput, (2, 4))),
    Case("mapping output", _of(flows.MappingOutput, (2, 4)), "an OrderedDict subclass with attributes"),
    Case("dataclass output", _of(flows.DataclassOutput, (2, 4)), "frozen"),
    Case("named tuple", _of(flows.NamedOutput, (2, 4))),
    Case("returns nothing", _of(flows.ReturnsNone, (2, 4)), train=False),
    Case("keywords", _of(flows.Keywords, (2, 4), scale=2.0, bias=torch.ones(4))),
    Case("only keywords", lambda: (flows.Keywords(), (), {"x": torch.randn(2, 4), "bias": None})),
    Case("reused module", _of(flows.Reused, (2, 4)), "one layer called three times"),
    Case("shared under two names", _of(flows.SharedNames, (2, 4))),
    Case("tied weights", lambda: (flows.Tied(), (torch.randint(0, 7, (2, 5)),), {})),
    Case("never called", _of(flows.NeverCalled, (2, 4))),
    Case("recursion", _of(flows.Recursive, (2, 4)), "a module that calls itself"),
    Case("holds its parent", _of(flows.HoldsParent, (2, 4)), "a cycle in the tree of modules"),
    Case("data-dependent loop", _of(flows.Loop, (2, 4))),
    Case("data-dependent branch", _of(flows.Branch, (2, 4))),
    Case("random loop", _of(flows.RandomDepth, (2, 4)), "draws from python, numpy and torch"),
    Case("dropout", _of(lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)), (3, 4))),
    Case("overridden train", _of(flows.KeepsFrozen, (4, 4)), "train() keeps a part in eval", mode="train"),
    Case("overridden call", _of(flows.OwnCall, (2, 4))),
    Case("calls forward directly", _of(flows.CallsForward, (2, 4)), "the inner layer's hooks never fire"),
    Case("catches its own exception", _of(flows.Catches, (2, 4))),
    Case("keeps state", _of(flows.Counter, (2, 4)), "a buffer and an attribute change with each call"),
    Case("user hooks", _of(flows.UserHooks, (2, 4)), "hooks of the user's own change values"),
    Case("module containers", _of(flows.Containers, (2, 4)), "ModuleDict, ModuleList, ParameterList"),
    Case("html names", _of(flows.HtmlNames, (2, 4)), "names with markup in them"),
    Case("unprintable", _of(flows.Unprintable, (2, 4)), "extra_repr and __eq__ raise"),
    Case("1000 modules", _of(flows.thousand, (2, 4)), train=False),
    Case("60 deep", _of(flows.deep, (2, 4)), train=False),
    Case("checkpoint", _of(lambda: flows.Checkpointed(False), (2, 4))),
    Case("re-entrant checkpoint", _of(lambda: flows.Checkpointed(True), (2, 4))),
    Case("gan", _of(flows.Gan, (3, 4)), "generator and discriminator, detached once"),
    Case("frozen backbone", _of(flows.frozen_backbone, (4, 3, 6, 6)), mode="mixed"),
    Case("data parallel", _of(lambda: nn.DataParallel(nn.Linear(4, 2)), (3, 4))),
    Case("batch norm", _of(lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU()), (5, 4))),
    Case("batch norm without momentum", _of(lambda: nn.BatchNorm2d(3, momentum=None), (2, 3, 4, 4))),
    Case("batch norm in eval", _of(values.batch_norm_eval, (5, 4)), mode="mixed"),
    Case("spectral norm", _of(values.spectral, (3, 4)), "reading the weight moves buffers"),
    Case("old spectral norm", _of(values.old_spectral, (3, 4)), "a forward pre hook makes the weight"),
    Case("weight norm", _of(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)), (3, 4))),
    Case("fake quantize", _of(values.FakeQuantized, (3, 4)), "observers move in eval too"),
    Case("lazy, initialised", _of(values.lazy, (3, 4))),
    Case("script child", _of(values.script_child, (3, 4)), "a ScriptModule refuses hooks"),
    Case("half", _of(lambda: values.Cast(torch.float16), (3, 4)), train=False),
    Case("bfloat16", _of(lambda: values.Cast(torch.bfloat16), (3, 4)), train=False),
    Case("double", lambda: (nn.Linear(4, 2).double(), (torch.randn(3, 4, dtype=torch.float64),), {})),
    Case("complex", _of(values.Complex, (3, 4))),
    Case("sparse", _of(values.Sparse, (3, 4))),
    Case("quantised", _of(values.Quantised, (3, 4)), train=False),
    Case("integers and booleans", _of(values.Integers, (3, 4)), train=False),
    Case("nan and infinities", _of(values.NotFinite, (3, 4)), train=False),
    Case("constant", _of(values.Constant, (3, 4))),
    Case("empty tensor", _of(values.Empty, (3, 4))),
    Case("scalar output", _of(values.Scalar, (3, 4))),
    Case("expanded output", _of(values.Expanded, (3, 1)), "strides of zero"),
    Case("autocast inside", _of(values.Autocast, (3, 4))),
    Case("no_grad inside", _of(values.PartlyNoGrad, (3, 4))),
    Case("inference mode inside", _of(values.PartlyInference, (3, 4)), train=False),
    Case("lstm", _of(lambda: nn.LSTM(4, 5, num_layers=2), (6, 3, 4)), "time first"),
    Case("lstm, batch first", _of(layouts.Tagger, (3, 6, 4))),
    Case("gru, packed", layouts.packed, "a PackedSequence goes in and comes out"),
    Case("embedding bag", layouts.bag, "flat indices and offsets"),
    Case("embedding", layouts.embedding),
    Case("attention", _of(layouts.Attention, (2, 5, 8)), "returns a tuple, out_proj never fires"),
    Case("transformer", _of(layouts.transformer, (4, 2, 8), (5, 2, 8)), "time first"),
    Case("encoder layer, eval", _of(layouts.encoder_layer, (2, 5, 8)), train=False, fused=True, mode="eval"),
    Case("encoder layer, train", _of(layouts.encoder_layer, (2, 5, 8))),
    Case(
        "encoder, mask-padded", layouts.padded_encoder, "a nested tensor inside", train=False, fused=True, mode="eval"
    ),
    Case("vit", _of(layouts.TinyViT, (2, 3, 8, 8))),
    Case("resnet", _of(layouts.TinyResNet, (2, 3, 12, 12))),
    Case("mobilenet", _of(layouts.TinyMobileNet, (2, 3, 12, 12))),
    Case("convnext", _of(layouts.TinyConvNeXt, (2, 3, 8, 8)), "channels-last inside"),
    Case("channels-last memory", layouts.channels_last),
    Case("conv1d", _of(lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.MaxPool1d(2)), (2, 2, 9))),
    Case("conv3d", _of(lambda: nn.Conv3d(1, 2, 2), (1, 1, 4, 4, 4))),
    Case("transposed convolution", _of(lambda: nn.ConvTranspose2d(2, 3, 2, stride=2), (1, 2, 4, 4))),
    Case("pixel shuffle", _of(lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.PixelShuffle(2)), (1, 1, 6, 6))),
    Case("group norm", _of(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), (2, 3, 6, 6))),
    Case("pooling with indices", _of(layouts.Unpool, (1, 1, 4, 4)), "integer indices as a second output"),
    Case("unet", _of(layouts.TinyUNet, (1, 2, 8, 8)), "skip connections"),
    Case("autoencoder", _of(layouts.Variational, (3, 8)), "samples inside, returns a distribution's parts"),
]


def case(name: str) -> Case:
    """Find a case by name."""
    return next(found for found in CASES if found.name == name)
