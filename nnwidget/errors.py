"""The errors people see: what happened, which layer or argument, what to do."""

from __future__ import annotations


class NNWidgetError(Exception):
    """Base of every error nnwidget raises on purpose.

    Parameters
    ----------
    message : str
        What happened, in one plain sentence.
    layer : str, optional
        The layer concerned, as in ``model.named_modules()``.
    argument : str, optional
        The argument concerned.
    remedy : str, optional
        What to do about it.

    Examples
    --------
    >>> print(NNWidgetError("No inputs.", argument="inputs", remedy="Pass a batch."))
    No inputs. Pass a batch.
    """

    def __init__(
        self,
        message: str,
        *,
        layer: str | None = None,
        argument: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.message = message
        self.layer = layer
        self.argument = argument
        self.remedy = remedy
        super().__init__(message if remedy is None else f"{message} {remedy}")


class InputError(NNWidgetError, ValueError):
    """An argument cannot be used: wrong type, shape, device or value."""


class UnknownLayerError(NNWidgetError, KeyError):
    """A layer name that the model does not have; the message names the nearest."""

    def __str__(self) -> str:
        # KeyError shows repr(args[0]); people should read the sentence.
        return str(self.args[0])


class UnknownRecordError(NNWidgetError, KeyError):
    """A quantity, layer or step of which a history has no record; the message names the nearest."""

    def __str__(self) -> str:
        return str(self.args[0])


class UnobservableError(NNWidgetError):
    """A layer that cannot be observed or must not be run, with the reason."""


class ForwardError(NNWidgetError, RuntimeError):
    """The model's own forward raised; ``__cause__`` is the model's exception."""


class BudgetError(NNWidgetError, MemoryError):
    """What was asked for would exceed the stated number of bytes."""


class MissingPackageError(NNWidgetError, ImportError):
    """Something optional was asked for, and the package that does it is not installed."""


class MessageError(NNWidgetError, ValueError):
    """A message from the page that is malformed or asks for something impossible."""


class MovedError(NNWidgetError):
    """What was found out part by part is void, since the model changed between two parts."""


class CancelledError(NNWidgetError):
    """The request was cancelled or replaced by a newer one before it was served."""
