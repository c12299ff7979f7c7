"""Every loop that must stay bit for bit what it is when somebody watches."""

from __future__ import annotations

from tests.untouched import odd, precision, usual
from tests.untouched.job import Loop

LOOPS: list[Loop] = [
    Loop("mlp", usual.mlp),
    Loop("cnn", usual.cnn, "BatchNorm, dropout, a loss module, augmentation with python's and numpy's generators"),
    Loop("resnet", usual.resnet, "in place, groups of parameters, a scheduler that steps with every batch"),
    Loop("transformer", usual.transformer, "a padding mask given by keyword, clipped gradients"),
    Loop("transformer, validated", lambda: usual.transformer(True), "its fused path in eval mode has other bits"),
    Loop("lstm", usual.lstm, "the loss comes in a dictionary"),
    Loop("gan", usual.gan, "two models, two optimisers"),
    Loop("autocast", precision.autocast, "bfloat16"),
    Loop("scaler, fused", lambda: precision.scaled(True), "unscaled inside the optimiser; one step is skipped"),
    Loop("scaler, not fused", lambda: precision.scaled(False), "one step is skipped"),
    Loop("scaler, clipped", lambda: precision.scaled(False, True), "unscaled by the user; one step is skipped"),
    Loop("accumulation", precision.accumulated),
    Loop("checkpoint", lambda: precision.checkpointed(False)),
    Loop("checkpoint, re-entrant", lambda: precision.checkpointed(True)),
    Loop("compiled mlp", lambda: precision.compiled(False)),
    Loop("compiled cnn", lambda: precision.compiled(True)),
    Loop("compiled before", lambda: precision.compiled(True, warm=True), "watched after its first steps"),
    Loop("lbfgs", odd.lbfgs, "a closure with a line search"),
    Loop("epochs", odd.epochs, "schedulers, a validation phase, the best weights loaded at the end"),
    Loop("moving average", odd.averaged, "a deep copy of the watched model"),
    Loop("by hand", odd.by_hand, "no optimiser"),
    Loop("two optimisers", odd.two_optimizers, "one steps every other time; a frozen part"),
    Loop("stepped in backward", odd.stepped_in_backward, "one optimiser a parameter"),
    Loop("spectral norm", odd.spectral),
    Loop("fake quantize", odd.fake_quantized),
    Loop("user's hooks", odd.hooked, "forward, backward, tensor, parameter and optimiser hooks that change values"),
]
