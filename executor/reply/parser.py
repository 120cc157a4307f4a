"""What a model or a recording says, turned into decisions or into errors with a path; nothing is guessed.

`read_json` reads strict JSON, `find_batch` what stands in looser text; `judge_reply` holds either against the same
contract, item by item.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from executor.contract import CLOSES, OPENS, PASSIVE, Action, Decision, ItemError
from executor.errors import ReplySyntaxError
from executor.reply.json_text import MAX_DIGITS, RepeatedKeys, read_json
from executor.reply.loose import as_batch, find_batch
from executor.reply.loose_end import After

MAX_REPLY: Final = 100_000
MAX_ITEMS: Final = 200
MAX_ERRORS: Final = 50
MAX_ERRORS_OF_ITEM: Final = 10
MAX_TEXT: Final = 8_000
_LARGEST: Final = Decimal(10) ** 15
_SMALLEST: Final = Decimal(10) ** -18
_PLAIN_NUMBER: Final = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_UNKNOWN_KEY: Final = "unknown key; expected only `reasoning` and `decisions`, with every decision in the latter"
_SIZES_OF_OPENS: Final = ("leverage", "position_size_usd", "confidence")
_UNIFIED: Final = re.compile(r"[A-Z0-9]{1,20}/[A-Z0-9]{1,20}(?::[A-Z0-9]{1,20})?", re.ASCII)
_NO_LETTER: Final = re.compile(r"[\W_]+")
_EXIT: Final = re.compile(r"close|stop|exit|reduce|profit|target|sell|flat", re.IGNORECASE)
_ACTIONS: Final = ", ".join(action for action in Action if action is not Action.TARGET)
_ENTRY_PRICES: Final = frozenset({"max_entry_price", "min_entry_price"})
_OF_OPENS: Final = frozenset({"leverage", "position_size_usd", "stop_loss", "take_profit"}) | _ENTRY_PRICES
_ZERO_MEANS_NONE: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(OPENS, frozenset({"fraction"})),
    **dict.fromkeys(CLOSES, _OF_OPENS),
    **dict.fromkeys(PASSIVE, _OF_OPENS | {"fraction"}),
    Action.ADJUST_STOP: (_OF_OPENS | {"fraction"}) - {"stop_loss", "take_profit"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Hold what one text asked for; `errors` name each dropped part by its path.

    `usable` is False when the text as a whole, or every item of it, is invalid: then there are no decisions.
    `lost_exit` says that one of the dropped items would have closed something or moved a stop. `doubted` is what a text
    asks for if the words that follow it do not take it back; it counts only when it is said twice.
    """

    decisions: tuple[Decision, ...] = ()
    errors: tuple[ItemError, ...] = ()
    reasoning: str = ""
    usable: bool = True
    lost_exit: bool = False
    doubted: "Reply | None" = None

    @property
    def orders(self) -> tuple[tuple[str, Action], ...]:
        """Return the symbols and actions of what would trade or move a stop, in order of the symbols."""
        return tuple(sorted((one.symbol, one.action) for one in self.decisions if one.action not in PASSIVE))


def _number(value: object) -> Decimal:
    plain = _PLAIN_NUMBER.fullmatch(value) if isinstance(value, str) else not isinstance(value, bool)
    if isinstance(value, str | int) and plain:
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise ValueError("expected a plain number such as 1250.5, without words, separators or units")
    if not value.is_finite() or value.copy_abs() > _LARGEST or len(value.as_tuple().digits) > MAX_DIGITS:
        raise ValueError("expected a finite number of at most 1e15 and 40 digits")
    if not value:
        return Decimal(0)
    if value.copy_abs() < _SMALLEST:
        raise ValueError("expected 0 or a number of at least 1e-18")
    return value


def _whole(value: object) -> int:
    number = _number(value)
    if number != number.to_integral_value():
        raise ValueError("expected a whole number such as 5")
    return int(number)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("expected text")
    return clean_text(value)


_Number = Annotated[Decimal, BeforeValidator(_number)]
_Positive = Annotated[_Number, Field(gt=0)]
_NotNegative = Annotated[_Number, Field(ge=0)]
_Text = Annotated[str, BeforeValidator(_text)]


class _Item(BaseModel):
    """The fields of one decision; null means absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: str
    action: Action
    leverage: Annotated[int, BeforeValidator(_whole), Field(ge=1)] | None = None
    position_size_usd: _Positive | None = None
    stop_loss: _Positive | None = None
    take_profit: _Positive | None = None
    confidence: Annotated[_Number, Field(ge=0, le=100)] | None = None
    risk_usd: _NotNegative | None = None
    max_entry_price: _Positive | None = None
    min_entry_price: _Positive | None = None
    fraction: Annotated[_Number, Field(gt=0, le=1)] | None = None
    target_quantity: _Number | None = None
    invalidation: _Text = ""
    reasoning: _Text = ""


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """Return `text` cut to `limit` characters, without NUL and lone surrogates, which UTF-8 text columns refuse."""
    return text[:limit].replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def parse_reply(text: str, allowed_symbols: Collection[str]) -> Reply:
    """Return the decisions of a reply `{"reasoning": str, "decisions": [...]}`; each item is judged alone.

    Text that is not strict JSON is searched for the one batch in it, which then meets the same contract. A text of more
    than MAX_REPLY characters is not read at all.
    """
    if len(text) > MAX_REPLY:
        return _unusable("reply", f"{len(text)} characters; answer with one JSON object of at most {MAX_REPLY}")
    try:
        raw = read_json(text)
    except ReplySyntaxError as error:
        try:
            found = find_batch(text)
        except ReplySyntaxError as looser:
            why = f"{error}; {looser}" if text.strip() else "empty"
            return _unusable("reply", f"{why}; answer with one JSON object and nothing else")
        return _unless_taken_back(judge_reply(found.value, allowed_symbols), found.after)
    return judge_reply(raw, allowed_symbols)


def _unless_taken_back(reply: Reply, after: After) -> Reply:
    """Doubt a reply that would trade and is followed by words."""
    if after is After.NOTHING or not reply.orders:
        return reply
    may = "words follow the JSON object, so that it is unclear whether it stands"
    told = may if after is After.WORDS else "the words that follow the JSON object take it back"
    refused = _unusable("reply", f"{told}; answer with the JSON object and nothing after it")
    return replace(refused, doubted=reply if after is After.WORDS else None)


def judge_reply(raw: object, allowed_symbols: Collection[str]) -> Reply:
    """Return the decisions of a parsed reply; unknown keys beside the two of the contract are errors, not orders.

    A single decision or a bare list of decisions stands for the whole object.
    """
    if not isinstance(raw, RepeatedKeys):
        raw = as_batch(raw) or raw
    if not isinstance(raw, Mapping):
        return _unusable("reply", f"expected an object with `reasoning` and `decisions`, got {_shown(raw)}")
    if isinstance(raw, RepeatedKeys):
        return _unusable("reply", f"{_listed(raw.names)} given twice; name each key once")
    items = raw.get("decisions")
    if not isinstance(items, list):
        given = _shown(items) if "decisions" in raw else "nothing"
        return _unusable("decisions", f"expected a list of decisions, [] for none, got {given}")
    if len(items) > MAX_ITEMS:
        return _unusable("decisions", f"expected at most {MAX_ITEMS} decisions, got {len(items)}")
    unknown = [key for key in raw if key not in ("reasoning", "decisions")]
    errors = [ItemError(path=clean_text(key, 60), message=_UNKNOWN_KEY) for key in unknown]
    if any(_holds_items(raw[key]) for key in unknown):
        return Reply(errors=_capped(errors, MAX_ERRORS, "reply"), usable=False)
    reasoning = raw.get("reasoning")
    if reasoning is not None and not isinstance(reasoning, str):
        errors.append(ItemError(path="reasoning", message=f"expected text, got {_shown(reasoning)}"))
    decisions: list[Decision] = []
    lost_exit = False
    for index, item in enumerate(items):
        judged = _offered(decision_from_mapping(item, f"decisions[{index}]", allowed_symbols), f"decisions[{index}]")
        if isinstance(judged, Decision):
            decisions.append(judged)
        else:
            errors.extend(judged)
            lost_exit = lost_exit or _wants_exit(item)
    return Reply(
        decisions=tuple(decisions),
        errors=_capped(errors, MAX_ERRORS, "reply"),
        reasoning=clean_text(reasoning) if isinstance(reasoning, str) else "",
        usable=bool(decisions) or not items,
        lost_exit=lost_exit,
    )


def decision_from_mapping(raw: object, path: str, allowed_symbols: Collection[str]) -> Decision | tuple[ItemError, ...]:
    """Return the decision that `raw` states, or its errors under `path`, at most MAX_ERRORS_OF_ITEM and their rest.

    Null fields count as absent, and so does a zero in a field that the action does not take. A symbol beside the
    allowed ones passes if it is written as symbols are and is no other spelling of one of them: it is another
    trader's or nobody's, and the risk checks refuse it.
    """
    if not isinstance(raw, Mapping):
        return (ItemError(path=path, message=f"expected an object with `symbol` and `action`, got {_shown(raw)}"),)
    if isinstance(raw, RepeatedKeys):
        return (ItemError(path=path, message=f"{_listed(raw.names)} given twice; name each field once"),)
    try:
        item = _Item.model_validate(_stated(raw))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        return _capped([_item_error(path, problem) for problem in problems], MAX_ERRORS_OF_ITEM, path)
    errors = [ItemError(path=f"{path}.{name}", message=message) for name, message in _contradictions(item)]
    if not _is_symbol(item.symbol, allowed_symbols):
        known = ", ".join(sorted(allowed_symbols))
        message = f"unknown symbol {_shown(item.symbol)}; expected exactly one of {known or 'none'}"
        errors.insert(0, ItemError(path=f"{path}.symbol", message=message))
    return tuple(errors) if errors else _decision(item)


def json_schema(symbols: Collection[str]) -> dict[str, Any]:
    """Return the JSON schema of a reply for structured output: every key required, nullable where optional.

    Numbers have no bounds here, because several endpoints refuse those keywords; `parse_reply` enforces them. Target
    positions are accepted from strategies but not offered to models.
    """
    number, text = {"type": "number"}, {"type": "string"}
    optional = {"type": ["number", "null"]}
    stops = {"stop_loss": optional, "take_profit": optional}
    prices = {"risk_usd": optional, "max_entry_price": optional, "min_entry_price": optional, "invalidation": text}
    sizes = {"leverage": {"type": "integer"}, "position_size_usd": number, "confidence": number}
    kinds: list[tuple[list[Action], dict[str, Any]]] = [
        ([Action.OPEN_LONG, Action.OPEN_SHORT], {**sizes, **stops, **prices}),
        ([Action.CLOSE_LONG, Action.CLOSE_SHORT], {"fraction": number}),
        ([Action.ADJUST_STOP], stops),
        ([Action.HOLD, Action.WAIT], {}),
    ]
    symbol = {"type": "string", "enum": sorted(symbols)}
    items = [
        _strict_object(
            {"symbol": symbol, "action": {"type": "string", "enum": [*actions]}, **fields, "reasoning": text}
        )
        for actions, fields in kinds
    ]
    return _strict_object({"reasoning": text, "decisions": {"type": "array", "items": {"anyOf": items}}})


def _strict_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _stated(raw: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the fields that say something; products that print a whole form put 0 where nothing is meant."""
    action = raw.get("action")
    idle = _ZERO_MEANS_NONE.get(action, frozenset()) if isinstance(action, str) else frozenset()
    return {
        _key(name): value for name, value in raw.items() if value is not None and not (name in idle and _is_zero(value))
    }


def _is_zero(value: object) -> bool:
    try:
        return _number(value) == 0
    except ValueError:
        return False


def _is_symbol(symbol: str, allowed: Collection[str]) -> bool:
    """Tell whether `symbol` is an allowed one, or that of a market which none of the allowed ones can mean."""
    if symbol in allowed:
        return True
    return _UNIFIED.fullmatch(symbol) is not None and _pair(symbol) not in {_pair(own) for own in allowed}


def _pair(symbol: str) -> str:
    """Return base and quote as one word, so that BTC/USDT and btcusdt are the same."""
    return _NO_LETTER.sub("", symbol.partition(":")[0]).casefold()


def _offered(judged: Decision | tuple[ItemError, ...], path: str) -> Decision | tuple[ItemError, ...]:
    """Refuse what strategies may ask for and models are not offered."""
    if isinstance(judged, Decision) and judged.action is Action.TARGET:
        return (ItemError(path=f"{path}.action", message='"target" is not among the actions; open or close instead'),)
    return judged


def _wants_exit(item: object) -> bool:
    action = item.get("action") if isinstance(item, Mapping) else None
    return isinstance(action, str) and _EXIT.search(action) is not None


def _holds_items(value: object) -> bool:
    """Tell whether an unknown key holds what could have been meant as decisions."""
    held = value if isinstance(value, list) else [value]
    return any(
        isinstance(item, Mapping) and any(str(key).casefold() in ("action", "symbol", "decisions") for key in item)
        for item in held
    )


def _capped(errors: Sequence[ItemError], most: int, path: str) -> tuple[ItemError, ...]:
    if len(errors) <= most:
        return tuple(errors)
    return (*errors[:most], ItemError(path=path, message=f"and {len(errors) - most} more errors"))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(clean_text(name, 60) for name in names[:5]) + more


def _contradictions(item: _Item) -> list[tuple[str, str]]:
    """List the fields that `action` lacks, and those that would change its meaning."""
    action = item.action
    missing: tuple[str, ...] = ()
    if action in OPENS:
        missing = tuple(name for name in _SIZES_OF_OPENS if getattr(item, name) is None)
    elif action is Action.TARGET and item.target_quantity is None:
        missing = ("target_quantity",)
    elif action is Action.ADJUST_STOP and item.stop_loss is None and item.take_profit is None:
        return [("stop_loss", "adjust_stop needs stop_loss, take_profit or both")]
    found = [(name, f"required for {action}") for name in missing]
    if item.target_quantity is not None and action is not Action.TARGET:
        found.append(("target_quantity", f"{action} takes no target_quantity; leave it out"))
    if item.fraction not in (None, Decimal(1)) and action not in CLOSES:
        found.append(("fraction", f"{action} takes no fraction; leave it out"))
    if item.position_size_usd is not None and action in CLOSES:
        found.append(("position_size_usd", f"{action} takes `fraction` of the position; leave position_size_usd out"))
    return found


def _decision(item: _Item) -> Decision:
    opens, closes, sized = (
        item.action in OPENS,
        item.action in CLOSES,
        item.action in OPENS or item.action is Action.TARGET,
    )
    protects = sized or item.action is Action.ADJUST_STOP
    return Decision(
        symbol=item.symbol,
        action=item.action,
        leverage=item.leverage if sized else None,
        position_size_usd=item.position_size_usd if opens else None,
        stop_loss=item.stop_loss if protects else None,
        take_profit=item.take_profit if protects else None,
        confidence=item.confidence,
        risk_usd=item.risk_usd if opens else None,
        max_entry_price=item.max_entry_price if sized else None,
        min_entry_price=item.min_entry_price if sized else None,
        fraction=item.fraction if closes and item.fraction is not None else Decimal(1),
        target_quantity=item.target_quantity,
        invalidation=item.invalidation,
        reasoning=item.reasoning,
    )


def _key(name: object) -> str:
    """Make a lone surrogate visible; stripping instead could turn a foreign key into a field."""
    return str(name).encode("utf-8", "replace").decode("utf-8")


def _item_error(path: str, problem: Mapping[str, Any]) -> ItemError:
    where = "".join(f".{clean_text(str(part), 60)}" for part in problem["loc"])
    if problem["type"] == "missing":
        message = "required"
    elif problem["type"] == "extra_forbidden":
        message = "unknown field; leave it out or correct its name"
    elif problem["type"] == "enum":
        message = f"expected one of {_ACTIONS}; got {_shown(problem['input'])}"
    else:
        message = f"{str(problem['msg']).removeprefix('Value error, ')}; got {_shown(problem['input'])}"
    return ItemError(path=path + where, message=message)


def _unusable(path: str, message: str) -> Reply:
    return Reply(errors=(ItemError(path=path, message=message),), usable=False)


def _shown(value: object) -> str:
    match value:
        case str():
            return clean_text(json.dumps(value[:80], ensure_ascii=False))
        case list():
            return f"a list of {len(value)}"
        case Mapping():
            return f"an object of {len(value)} keys"
        case _:
            return str(value)[:80] if isinstance(value, Decimal) else repr(value)[:80]
