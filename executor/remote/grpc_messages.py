"""Plain values to protobuf messages and back; the names are those of `decision.proto`, which mirror the contract."""

from typing import Any

from executor.contract import Context, FullDecision
from executor.errors import RequestInvalid
from executor.proto import decision_pb2 as pb
from executor.remote.wire import context_of_values, context_values, decision_of_values, decision_values


def request_of(context: Context) -> pb.DecisionRequest:
    """Return the request for a decision; raise ValueError if the context cannot travel."""
    values = context_values(context)
    values["market"] = list(values["market"].values())
    details = values["details"]
    if details is not None:
        values["details"] = {
            **details,
            "others": details["others"] or (),
            "others_shown": details["others"] is not None,
        }
    return pb.DecisionRequest(context=values)


def context_of(request: pb.DecisionRequest) -> Context:
    """Return the context of a request; raise RequestInvalid, which names the first faults."""
    sent = request.ByteSize()
    request.DiscardUnknownFields()
    if request.ByteSize() != sent:
        raise RequestInvalid("the request has fields that decision.proto here does not know; update the server first")
    values = values_of(request.context)
    views = {view["symbol"]: view for view in values["market"]}
    if len(views) < len(values["market"]):
        raise RequestInvalid("context.market: a symbol is given twice; send each once")
    values["market"] = views
    details = values["details"]
    if details is not None:
        shown = details.pop("others_shown")
        values["details"] = {**details, "others": details["others"] if shown else None}
    return context_of_values(values)


def answer_of(decision: FullDecision) -> pb.FullDecision:
    """Return the answer that carries a decision."""
    return pb.FullDecision(**decision_values(decision))


def decision_of(answer: pb.FullDecision, context: Context) -> FullDecision:
    """Return the decision of an answer, judged item by item; raise UnreadableAnswer if it states none.

    What the server leaves out of `usage` is 0, as over HTTP.
    """
    values = values_of(answer)
    values["usage"] = {name: value for name, value in (values["usage"] or {}).items() if value != ""}
    return decision_of_values(values, context)


def values_of(message: Any) -> dict[str, Any]:
    """Return every field of a message, and of those in it, by name; None for an optional one that is not set."""
    values: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        given, plain = getattr(message, field.name), field.message_type is None
        if field.is_repeated:
            values[field.name] = list(given) if plain else [values_of(item) for item in given]
        elif field.has_presence and not message.HasField(field.name):
            values[field.name] = None
        else:
            values[field.name] = given if plain else values_of(given)
    return values
