"""Nothing the page sends may raise in the kernel, hang it, or go unanswered."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnwidget.errors import InputError, MessageError
from nnwidget.wire.dispatch import Dispatcher, Ticket
from nnwidget.wire.messages import Hello, Look, PageEdit, Request, Watch, error_json, parse

HEAD = {"k": "request", "v": 1, "client": "a", "id": 1}
EDIT = {"layer": "conv", "op": "scale", "channel": 3, "factor": 0.5}

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=8)
    | st.sampled_from(["look", "layers", "set", "a", "conv", "maps"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("k", "v", "client", "id", "method", "params")
LOOK = ("layer", "input", "call", "output", "edge", "channel", "edits", "want")


class Echo:
    """Answers everything at once and remembers what it was told."""

    def __init__(self):
        self.said = []

    def welcome(self, client, control, send):
        return {"status": {}, "durable": {}}

    def request(self, ticket: Ticket):
        ticket.reply({"method": ticket.request.method})

    def watch(self, client, look, filters):
        self.said.append(("watch", client, look))

    def acknowledge(self, client, seq):
        self.said.append(("ack", client, seq))

    def goodbye(self, client):
        self.said.append(("bye", client))


def serve(content):
    sent = []
    Dispatcher(Echo(), lambda body, buffers: sent.append(body)).handle(content)
    return sent


def test_a_full_look_is_read_field_by_field():
    message = parse(
        HEAD
        | {
            "method": "look",
            "params": {
                "layer": "conv",
                "input": 2,
                "call": 1,
                "output": "logits",
                "edge": 64,
                "channel": 5,
                "edits": [EDIT],
                "want": ["maps", "channel"],
            },
        }
    )
    assert message == Request(
        "a",
        1,
        "look",
        Look(
            "conv", 2, 1, "logits", 64, 5, (PageEdit("conv", "scale", 3, factor=0.5),), frozenset({"maps", "channel"})
        ),
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"layer": 3}, "layer"),
        ({"layer": "x" * 5000}, "layer"),
        ({"input": -1}, "input"),
        ({"input": True}, "input"),
        ({"input": 1.5}, "input"),
        ({"edge": 10**9}, "edge"),
        ({"edits": "conv"}, "edits"),
        ({"edits": [EDIT] * 300}, "edits"),
        ({"edits": [EDIT | {"factor": float("nan")}]}, "factor"),
        ({"edits": [EDIT | {"factor": float("inf")}]}, "factor"),
        ({"edits": [EDIT | {"op": "format"}]}, "op"),
        ({"edits": [{"layer": "conv", "op": "only", "channel": None}]}, "channel"),
        ({"edits": [{"layer": "conv", "op": "clamp", "channel": 0, "min": 2, "max": 1}]}, "min"),
        ({"edits": [{"layer": "conv", "op": "clamp", "channel": 0}]}, "min"),
        ({"want": ["passwords"]}, "want"),
    ],
)
def test_a_bad_field_is_refused_by_name(change, field):
    with pytest.raises(MessageError) as error:
        parse(HEAD | {"method": "look", "params": {"layer": "conv"} | change})
    assert error.value.argument == field


def test_edits_travel_there_and_back():
    for source in (
        EDIT,
        {"layer": "a.b", "op": "clamp", "channel": None, "min": 0.0, "max": None},
        {"layer": "a.b", "op": "mean", "channel": 1},
    ):
        look = parse({"k": "watch", "client": "a", "params": {"layer": "conv", "edits": [source]}})
        assert isinstance(look, Watch) and look.look is not None
        assert look.look.edits[0].to_json() == source


def test_another_protocol_is_told_what_to_do():
    with pytest.raises(MessageError, match="restart the kernel"):
        parse({"k": "hello", "v": 99, "client": "a"})
    assert parse({"k": "hello", "v": 1, "client": "a", "control": True}) == Hello("a", True)


def test_only_known_state_can_be_set():
    with pytest.raises(MessageError, match="cannot be set"):
        parse(HEAD | {"method": "set", "params": {"_esm": "alert(1)"}})
    with pytest.raises(MessageError):
        parse(HEAD | {"method": "set", "params": {"view": "secrets"}})


@settings(max_examples=300, deadline=None)
@given(st.one_of(junk, st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, junk))))
def test_junk_always_gets_one_answer(content):
    sent = serve(content)
    assert len(sent) <= 1
    if not isinstance(content, dict) or content.get("k") not in ("cancel", "ack", "watch", "bye"):
        assert len(sent) == 1


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["look", "filters", "distribution", "value", "inputs", "code", "set", "layers", "ping", "nothing"]),
    st.one_of(junk, st.fixed_dictionaries({}, optional=dict.fromkeys(LOOK, junk))),
)
def test_junk_parameters_always_get_one_answer_to_their_question(method, params):
    (sent,) = serve(HEAD | {"method": method, "params": params})
    assert sent["k"] == "response" and (sent["client"], sent["id"]) == ("a", 1)
    assert sent["ok"] or sent["error"]["message"]


def test_a_ticket_settles_once_and_a_cancel_answers():
    sent = []
    open_tickets = []

    class Slow(Echo):
        def request(self, ticket):
            open_tickets.append(ticket)

    dispatcher = Dispatcher(Slow(), lambda body, buffers: sent.append(body))
    dispatcher.handle(HEAD | {"method": "ping"})
    dispatcher.handle(HEAD | {"method": "ping"})
    assert [body["error"]["argument"] for body in sent] == ["id"]
    dispatcher.handle({"k": "cancel", "client": "a", "id": 1})
    open_tickets[0].reply({})
    assert len(sent) == 2 and sent[1]["error"]["type"] == "CancelledError"
    assert open_tickets[0].cancelled
    dispatcher.handle(HEAD | {"method": "ping"})
    assert len(open_tickets) == 2, "a settled id is free again"


def test_a_page_that_leaves_gets_its_open_questions_cancelled():
    open_tickets = []
    service = Echo()
    service.request = open_tickets.append
    sent = []
    dispatcher = Dispatcher(service, lambda body, buffers: sent.append(body))
    dispatcher.handle(HEAD | {"method": "ping"})
    dispatcher.handle({"k": "bye", "client": "a"})
    assert open_tickets[0].cancelled and service.said == [("bye", "a")]


def test_a_bug_of_ours_reaches_the_page(caplog):
    class Broken(Echo):
        def welcome(self, client, control, send):
            raise RuntimeError("broken inside")

    sent = []
    Dispatcher(Broken(), lambda body, buffers: sent.append(body)).handle({"k": "hello", "v": 1, "client": "a"})
    assert "broken inside" in sent[0]["error"]["message"]
    assert "could not serve" in caplog.text


def test_errors_keep_layer_and_remedy_as_data():
    data = error_json(InputError("No.", layer="conv", argument="channel", remedy="Choose 0 to 3."))
    assert data == {
        "type": "InputError",
        "message": "No.",
        "layer": "conv",
        "argument": "channel",
        "remedy": "Choose 0 to 3.",
    }
