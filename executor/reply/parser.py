"""What a model says, turned into decisions or into errors with a path; nothing is guessed.

`read_json` reads strict JSON, `find_batch` what stands in looser text; `judge_reply` holds either against the same
contract, item by item.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from executor.contract import PASSIVE, Action, Decision, ItemError
from executor.errors import ReplySyntaxError
from executor.reply.item import capped, decision_from_mapping
from executor.reply.loose import After, as_batch, find_batch
from executor.reply.text import RepeatedKeys, clean_text, listed, read_json, shown

MAX_REPLY: Final = 100_000
MAX_ITEMS: Final = 200
MAX_ERRORS: Final = 50
_UNKNOWN_KEY: Final = "unknown key; expected only `reasoning` and `decisions`, with every decision in the latter"
_EXIT: Final = re.compile(r"close|stop|exit|reduce|profit|target|sell|flat", re.IGNORECASE)
_NOT_OFFERED: Final = '"target" is not among the actions; open or close instead'


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Hold what one text asked for; `errors` name each invalid part by its path.

    `usable` is False when the text as a whole, or every item of it, is invalid: then there are no decisions.
    `lost_exit` says that one of the invalid items would have closed something or moved a stop. `doubted` is what a text
    asks for if the words that follow it do not take it back; it counts only when it is said twice.
    """

    decisions: tuple[Decision, ...] = ()
    errors: tuple[ItemError, ...] = ()
    reasoning: str = ""
    usable: bool = True
    lost_exit: bool = False
    doubted: "Reply | None" = None

    @staticmethod
    def unusable(path: str, message: str) -> "Reply":
        """Return the reply of a text that is invalid as a whole."""
        return Reply(errors=(ItemError(path=path, message=message),), usable=False)

    @property
    def orders(self) -> tuple[tuple[str, Action], ...]:
        """Return the symbols and actions of what would trade or move a stop, in order of the symbols."""
        return tuple(sorted((one.symbol, one.action) for one in self.decisions if one.action not in PASSIVE))

    def followed_by(self, after: After) -> "Reply":
        """Return the reply, doubted if it would trade and words follow it."""
        if after is After.NOTHING or not self.orders:
            return self
        may = "words follow the JSON object, so that it is unclear whether it stands"
        told = may if after is After.WORDS else "the words that follow the JSON object take it back"
        refused = Reply.unusable("reply", f"{told}; answer with the JSON object and nothing after it")
        return replace(refused, doubted=self if after is After.WORDS else None)


def parse_reply(text: str, allowed_symbols: Collection[str]) -> Reply:
    """Return the decisions of a reply `{"reasoning": str, "decisions": [...]}`; each item is judged alone.

    Text that is not strict JSON is searched for the one batch in it, which then meets the same contract. A text of more
    than MAX_REPLY characters is not read at all.
    """
    if len(text) > MAX_REPLY:
        return Reply.unusable("reply", f"{len(text)} characters; answer with one JSON object of at most {MAX_REPLY}")
    try:
        raw = read_json(text)
    except ReplySyntaxError as error:
        try:
            found = find_batch(text)
        except ReplySyntaxError as looser:
            why = f"{error}; {looser}" if text.strip() else "empty"
            return Reply.unusable("reply", f"{why}; answer with one JSON object and nothing else")
        return judge_reply(found.value, allowed_symbols).followed_by(found.after)
    return judge_reply(raw, allowed_symbols)


def judge_reply(raw: object, allowed_symbols: Collection[str]) -> Reply:
    """Return the decisions of a parsed reply; unknown keys beside the two of the contract are errors, not orders.

    A single decision or a bare list of decisions stands for the whole object. Target positions are accepted from
    strategies, but not from models.
    """
    if not isinstance(raw, RepeatedKeys):
        raw = as_batch(raw) or raw
    if not isinstance(raw, Mapping):
        return Reply.unusable("reply", f"expected an object with `reasoning` and `decisions`, got {shown(raw)}")
    if isinstance(raw, RepeatedKeys):
        return Reply.unusable("reply", f"{listed(raw.names)} given twice; name each key once")
    items = raw.get("decisions")
    if not isinstance(items, list):
        given = shown(items) if "decisions" in raw else "nothing"
        return Reply.unusable("decisions", f"expected a list of decisions, [] for none, got {given}")
    if len(items) > MAX_ITEMS:
        return Reply.unusable("decisions", f"expected at most {MAX_ITEMS} decisions, got {len(items)}")
    unknown = [key for key in raw if key not in ("reasoning", "decisions")]
    errors = [ItemError(path=clean_text(key, 60), message=_UNKNOWN_KEY) for key in unknown]
    if any(_holds_items(raw[key]) for key in unknown):
        return Reply(errors=capped(errors, MAX_ERRORS, "reply"), usable=False)
    reasoning = raw.get("reasoning")
    if reasoning is not None and not isinstance(reasoning, str):
        errors.append(ItemError(path="reasoning", message=f"expected text, got {shown(reasoning)}"))
    decisions: list[Decision] = []
    lost_exit = False
    for index, item in enumerate(items):
        judged = decision_from_mapping(item, f"decisions[{index}]", allowed_symbols)
        if isinstance(judged, Decision) and judged.action is not Action.TARGET:
            decisions.append(judged)
            continue
        refused = (ItemError(path=f"decisions[{index}].action", message=_NOT_OFFERED),)
        errors.extend(refused if isinstance(judged, Decision) else judged)
        action = item.get("action") if isinstance(item, Mapping) else None
        lost_exit = lost_exit or (isinstance(action, str) and _EXIT.search(action) is not None)
    return Reply(
        decisions=tuple(decisions),
        errors=capped(errors, MAX_ERRORS, "reply"),
        reasoning=clean_text(reasoning) if isinstance(reasoning, str) else "",
        usable=bool(decisions) or not items,
        lost_exit=lost_exit,
    )


def json_schema(symbols: Collection[str]) -> dict[str, Any]:
    """Return the JSON schema of a reply for structured output: every key required, nullable where optional.

    Numbers have no bounds here, because several endpoints refuse those keywords; `parse_reply` enforces them.
    """

    def strict(properties: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}

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
        strict({"symbol": symbol, "action": {"type": "string", "enum": [*actions]}, **fields, "reasoning": text})
        for actions, fields in kinds
    ]
    return strict({"reasoning": text, "decisions": {"type": "array", "items": {"anyOf": items}}})


def _holds_items(value: object) -> bool:
    """Tell whether an unknown key holds what could have been meant as decisions."""
    held = value if isinstance(value, list) else [value]
    return any(
        isinstance(item, Mapping) and any(str(key).casefold() in ("action", "symbol", "decisions") for key in item)
        for item in held
    )
