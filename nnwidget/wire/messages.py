"""What the page may say, checked field by field: nothing it sends is trusted.

The other side of this contract is ``js/src/wire/types.ts``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from nnwidget.errors import MessageError, NNWidgetError
from nnwidget.types import WeightView
from nnwidget.wire import fields

PROTOCOL = 1
MAX_EDITS = 256
# Four curves can be told apart by their stroke alone.
MAX_COMPARED = 3


@dataclass(frozen=True, slots=True)
class PageEdit:
    """One edit as the page knows it; ``channel`` None means the whole layer."""

    layer: str
    op: Literal["scale", "mean", "zero", "clamp", "only"]
    channel: int | None = None
    factor: float = 1.0
    min: float | None = None
    max: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the edit as the page writes it."""
        found: dict[str, Any] = {"layer": self.layer, "op": self.op, "channel": self.channel}
        if self.op == "scale":
            found["factor"] = self.factor
        if self.op == "clamp":
            found |= {"min": self.min, "max": self.max}
        return found


@dataclass(frozen=True, slots=True)
class Look:
    """Everything one click asks for: the maps of a layer, one channel in full, the prediction."""

    layer: str
    input: int = 0
    call: int = 0
    output: str | None = None
    edge: int = 96
    channel: int | None = None
    edits: tuple[PageEdit, ...] = ()
    want: frozenset[str] = frozenset({"maps", "prediction"})


@dataclass(frozen=True, slots=True)
class FiltersOf:
    """The weights of one layer as pictures."""

    layer: str
    view: WeightView = field(default_factory=WeightView)
    # What the activity is taken from, where weights are sorted by it.
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class WeightAt:
    """The exact weight under the pointer: the mean over so many rows and columns of one tile."""

    of: FiltersOf
    tile: int
    row: int
    column: int
    rows: int = 1
    columns: int = 1
    # Of the gradient instead.
    gradient: bool = False


@dataclass(frozen=True, slots=True)
class DistributionOf:
    """The histogram of one layer, and of others over the same bins."""

    look: Look
    others: tuple[str, ...] = ()
    quantity: Literal["activations", "weights", "gradients"] = "activations"
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class RankingOf:
    """The channels of one layer by class selectivity or by influence on one output, the largest without ``target``."""

    look: Look
    by: Literal["selectivity", "influence"] = "influence"
    target: int | None = None
    # How many channels the page has already; the answer brings more.
    resume: int = 0


@dataclass(frozen=True, slots=True)
class ValueAt:
    """The exact value under the pointer."""

    look: Look
    channel: int
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """The pinned inputs as thumbnails."""

    edge: int = 96


@dataclass(frozen=True, slots=True)
class Code:
    """The edits as Python."""

    edits: tuple[PageEdit, ...] = ()


@dataclass(frozen=True, slots=True)
class Durable:
    """New values for some of the traits."""

    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Charts:
    """All that the panel of a training shows, from now on with this number of each step."""

    scalar: str = "loss"


@dataclass(frozen=True, slots=True)
class Control:
    """What a person does to a training."""

    action: Literal["pause", "resume", "step", "stop"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A new learning rate for one parameter group."""

    group: int
    value: float


@dataclass(frozen=True, slots=True)
class Nothing:
    """No parameters: ``layers`` and ``ping``."""


Params: TypeAlias = (
    Look
    | FiltersOf
    | WeightAt
    | DistributionOf
    | RankingOf
    | ValueAt
    | Inputs
    | Code
    | Durable
    | Charts
    | Control
    | Rate
    | Nothing
)


@dataclass(frozen=True, slots=True)
class Hello:
    """A page wants to talk; ``control`` says that it can use the control channel."""

    client: str
    control: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A question that gets exactly one response."""

    client: str
    id: int
    method: str
    params: Params


@dataclass(frozen=True, slots=True)
class Cancel:
    """The answer to this question is no longer wanted."""

    client: str
    id: int


@dataclass(frozen=True, slots=True)
class Ack:
    """A pushed look has been painted."""

    client: str
    seq: int


@dataclass(frozen=True, slots=True)
class Watch:
    """What this page shows now; None: nothing to follow."""

    client: str
    look: Look | None
    # The weights that are on the screen.
    filters: FiltersOf | None = None


@dataclass(frozen=True, slots=True)
class Bye:
    """A page is gone."""

    client: str


Message: TypeAlias = Hello | Request | Cancel | Ack | Watch | Bye


def _edit(value: object) -> PageEdit:
    source = fields.mapping(value, "edit")
    op = source.get("op")
    layer, channel = fields.text(source, "layer"), fields.optional(fields.integer, source, "channel")
    if op == "scale":
        return PageEdit(layer, "scale", channel, factor=fields.number(source, "factor"))
    if op == "clamp":
        low, high = fields.optional(fields.number, source, "min"), fields.optional(fields.number, source, "max")
        if low is None and high is None:
            raise MessageError("A limit needs a smallest or a largest value.", layer=layer, argument="min")
        if low is not None and high is not None and low > high:
            raise MessageError(f"The limit {low:g} to {high:g} is empty.", layer=layer, argument="min")
        return PageEdit(layer, "clamp", channel, min=low, max=high)
    if op == "mean" or op == "zero" or op == "only":
        if op == "only" and channel is None:
            raise MessageError("'only this' needs a channel.", layer=layer, argument="channel")
        return PageEdit(layer, op, channel)
    raise MessageError(f"There is no edit {op!r:.40}.", layer=layer, argument="op")


def parse_edits(value: object) -> tuple[PageEdit, ...]:
    """Check a list of edits."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or len(value) > MAX_EDITS:
        raise MessageError(f"'edits' is not a list of at most {MAX_EDITS}.", argument="edits")
    return tuple(_edit(item) for item in value)


def _look(value: object) -> Look:
    source = fields.mapping(value, "params")
    want = source.get("want", ["maps", "prediction"])
    if not isinstance(want, Sequence) or not all(
        isinstance(w, str) and w in ("maps", "channel", "prediction") for w in want
    ):
        raise MessageError("'want' names something that cannot be looked at.", argument="want")
    return Look(
        layer=fields.text(source, "layer"),
        input=fields.integer(source, "input", default=0),
        call=fields.integer(source, "call", default=0),
        output=fields.optional(fields.text, source, "output"),
        edge=fields.integer(source, "edge", 4, 2048, default=96),
        channel=fields.optional(fields.integer, source, "channel"),
        edits=parse_edits(source.get("edits", ())),
        want=frozenset(want),
    )


def _filters(value: object) -> FiltersOf:
    source = fields.mapping(value, "params")
    mode = source.get("mode", "auto")
    if mode not in ("auto", "norm"):
        mode = fields.integer(source, "mode")
    view = WeightView(
        part=fields.optional(fields.text, source, "part"),
        section=None if source.get("section") is None else fields.integer(source, "section", -1),
        mode=mode,
        slice=fields.optional(fields.integer, source, "slice"),
        window=None if source.get("window") is None else fields.numbers(source, "window", 4),  # type: ignore[arg-type]  # four
        room=fields.numbers({"room": (384, 512), **source}, "room", 2, 4, 4096),  # type: ignore[arg-type]  # two
        edge=fields.integer(source, "edge", 4, 2048, default=96),
        sort=_sort(source.get("sort", "number")),  # type: ignore[arg-type]  # one of the four
        reference=fields.optional(fields.integer, source, "reference"),
        gradient=fields.flag({"gradient": False, **source}, "gradient"),
    )
    look = None if source.get("look") is None else _look(source["look"])
    return FiltersOf(fields.text(source, "layer"), view, look)


def _weight(value: object) -> WeightAt:
    source = fields.mapping(value, "params")
    return WeightAt(
        _filters(source),
        tile=fields.integer(source, "tile", default=0),
        row=fields.integer(source, "row"),
        column=fields.integer(source, "column"),
        rows=fields.integer(source, "rows", 1, default=1),
        columns=fields.integer(source, "columns", 1, default=1),
        gradient=fields.flag({"of_gradient": False, **source}, "of_gradient"),
    )


def _distribution(value: object) -> DistributionOf:
    source = fields.mapping(value, "params")
    others = _names(source.get("others", ()), "others")
    if len(others) > MAX_COMPARED:
        raise MessageError(f"At most {MAX_COMPARED} layers can be compared with one.", argument="others")
    quantity = _quantity(source.get("quantity", "activations"))
    parameter = fields.text({"parameter": "", **source}, "parameter")
    look = _look(source)
    others = [name for name in dict.fromkeys(others) if name != look.layer]
    return DistributionOf(look, tuple(others), quantity, parameter)  # type: ignore[arg-type]  # one of three


def _ranking(value: object) -> RankingOf:
    source = fields.mapping(value, "params")
    return RankingOf(
        _look(source),
        _rank_by(source.get("by", "influence")),  # type: ignore[arg-type]  # one of the two
        fields.optional(fields.integer, source, "target"),
        fields.integer(source, "resume", default=0),
    )


def _value(value: object) -> ValueAt:
    source = fields.mapping(value, "params")
    return ValueAt(
        _look(source),
        fields.integer(source, "channel"),
        fields.integer(source, "row"),
        fields.integer(source, "column"),
    )


def _names(value: object, key: str = "selected") -> list[str]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) > 64:
        raise MessageError(f"'{key}' is not a list of layer names.", argument=key)
    return [fields.text({key: name}, key) for name in value]


_sort = fields.choice("number", "norm", "activity", "similarity")
_rank_by = fields.choice("selectivity", "influence")
_quantity = fields.choice("activations", "weights", "gradients")
COLORMAPS = ("auto", "viridis", "magma", "cividis", "greys", "diverging")
_DURABLE: Mapping[str, Callable[[object], Any]] = {
    "selected": _names,
    "input": fields.whole(0),
    "channel": fields.whole(-1),
    "call": fields.whole(0),
    "output": lambda value: fields.text({"output": value}, "output"),
    "view": fields.choice("maps", "filters", "distribution"),
    "quantity": _quantity,
    "parameter": lambda value: fields.text({"parameter": value}, "parameter"),
    "log_counts": lambda value: fields.flag({"log_counts": value}, "log_counts"),
    "colormap": fields.choice(*COLORMAPS),
    "scaling": fields.choice("layer", "channel", "symmetric"),
    "edits": parse_edits,
}


def _durable(value: object) -> Durable:
    source = fields.mapping(value, "params")
    unknown = sorted(set(source) - set(_DURABLE))
    if unknown:
        raise MessageError(f"'{unknown[0]:.40}' cannot be set from the page.", argument="params")
    return Durable({key: _DURABLE[key](item) for key, item in source.items()})


_action = fields.choice("pause", "resume", "step", "stop")


def _control(value: object) -> Control:
    return Control(_action(fields.mapping(value, "params").get("action")))  # type: ignore[arg-type]  # one of the four


def _rate(value: object) -> Rate:
    source = fields.mapping(value, "params")
    rate = fields.number(source, "value")
    if rate < 0:
        raise MessageError("A learning rate is not negative.", argument="value")
    return Rate(fields.integer(source, "group"), rate)


_METHODS: Mapping[str, Callable[[object], Params]] = {
    "layers": lambda value: Nothing(),
    "ping": lambda value: Nothing(),
    "inputs": lambda value: Inputs(fields.integer(fields.mapping(value, "params"), "edge", 4, 1024, default=96)),
    "look": _look,
    "filters": _filters,
    "weight": _weight,
    "distribution": _distribution,
    "ranking": _ranking,
    "value": _value,
    "code": lambda value: Code(parse_edits(fields.mapping(value, "params").get("edits", ()))),
    "set": _durable,
    "charts": lambda value: Charts(fields.text({"scalar": "loss", **fields.mapping(value, "params")}, "scalar")),
    "control": _control,
    "rate": _rate,
}


def parse(content: object) -> Message:
    """Check one message from the page.

    Parameters
    ----------
    content : object
        Whatever arrived; untrusted.

    Returns
    -------
    Message

    Raises
    ------
    MessageError
        It is malformed; the message says which field and why.

    Examples
    --------
    >>> parse({"k": "hello", "v": 1, "client": "a"})
    Hello(client='a', control=False)
    """
    source = fields.mapping(content, "message")
    client = fields.text(source, "client")
    kind = source.get("k")
    if kind in ("hello", "request") and source.get("v") != PROTOCOL:
        raise MessageError(
            f"The page speaks protocol {source.get('v')!r:.20}, the kernel {PROTOCOL}.",
            remedy="Reload the page and restart the kernel, so that both use one version of nnwidget.",
        )
    if kind == "hello":
        return Hello(client, source.get("control") is True)
    if kind == "request":
        number, method = fields.integer(source, "id", high=2**53), fields.text(source, "method")
        read = _METHODS.get(method)
        if read is None:
            raise MessageError(f"There is no method {method!r:.40}.", argument="method")
        return Request(client, number, method, read(source.get("params", {})))
    if kind == "cancel":
        return Cancel(client, fields.integer(source, "id", high=2**53))
    if kind == "ack":
        return Ack(client, fields.integer(source, "seq"))
    if kind == "watch":
        return Watch(
            client,
            fields.optional(lambda s, key: _look(s[key]), source, "params"),
            fields.optional(lambda s, key: _filters(s[key]), source, "filters"),
        )
    if kind == "bye":
        return Bye(client)
    raise MessageError(f"There is no message of kind {kind!r:.40}.", argument="k")


def error_json(error: BaseException) -> dict[str, Any]:
    """Turn an exception into data for the page.

    Examples
    --------
    >>> error_json(MessageError("No.", argument="k"))["message"]
    'No.'
    """
    if isinstance(error, NNWidgetError):
        return {
            "type": type(error).__name__,
            "message": error.message,
            "layer": error.layer,
            "argument": error.argument,
            "remedy": error.remedy,
        }
    text = f"{type(error).__name__}: {error}"
    return {"type": type(error).__name__, "message": text[:2000], "layer": None, "argument": None, "remedy": None}
