"""What one item of a reply says, turned into a decision or into errors with a path; nothing is guessed."""

import re
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from executor.contract import CLOSES, OPENS, PASSIVE, Action, Decision, ItemError
from executor.reply.text import RepeatedKeys, clean_text, encodable, exact_number, listed, shown

MAX_ERRORS_OF_ITEM: Final = 10
_SIZES_OF_OPENS: Final = ("leverage", "position_size_usd", "confidence")
_UNIFIED: Final = re.compile(r"[A-Z0-9]{1,20}/[A-Z0-9]{1,20}(?::[A-Z0-9]{1,20})?", re.ASCII)
_NO_LETTER: Final = re.compile(r"[\W_]+")
_ACTIONS: Final = ", ".join(action for action in Action if action is not Action.TARGET)
_ENTRY_PRICES: Final = frozenset({"max_entry_price", "min_entry_price"})
_OF_OPENS: Final = frozenset({"leverage", "position_size_usd", "stop_loss", "take_profit"}) | _ENTRY_PRICES
_ZERO_MEANS_NONE: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(OPENS, frozenset({"fraction"})),
    **dict.fromkeys(CLOSES, _OF_OPENS),
    **dict.fromkeys(PASSIVE, _OF_OPENS | {"fraction"}),
    Action.ADJUST_STOP: (_OF_OPENS | {"fraction"}) - {"stop_loss", "take_profit"},
}


def decision_from_mapping(raw: object, path: str, allowed_symbols: Collection[str]) -> Decision | tuple[ItemError, ...]:
    """Return the decision that `raw` states, or its errors under `path`, at most MAX_ERRORS_OF_ITEM and their rest.

    Null fields count as absent, and so does a zero in a field that the action does not take. A symbol beside the
    allowed ones passes if it is written as symbols are and is no other spelling of one of them: it is another
    trader's or nobody's, and the risk checks deny it.
    """
    if not isinstance(raw, Mapping):
        return (ItemError(path=path, message=f"expected an object with `symbol` and `action`, got {shown(raw)}"),)
    if isinstance(raw, RepeatedKeys):
        return (ItemError(path=path, message=f"{listed(raw.names)} given twice; name each field once"),)
    try:
        item = _Item.read(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        return capped([_item_error(path, problem) for problem in problems], MAX_ERRORS_OF_ITEM, path)
    errors = [ItemError(path=f"{path}.{name}", message=message) for name, message in item.contradictions()]
    if not item.names_a_market(allowed_symbols):
        known = ", ".join(sorted(allowed_symbols))
        message = f"unknown symbol {shown(item.symbol)}; expected exactly one of {known or 'none'}"
        errors.insert(0, ItemError(path=f"{path}.symbol", message=message))
    return tuple(errors) if errors else item.decision()


def capped(errors: Sequence[ItemError], most: int, path: str) -> tuple[ItemError, ...]:
    """Return the first errors, and one that counts the others under `path`."""
    if len(errors) <= most:
        return tuple(errors)
    return (*errors[:most], ItemError(path=path, message=f"and {len(errors) - most} more errors"))


_Number = Annotated[Decimal, BeforeValidator(exact_number)]
_Positive = Annotated[_Number, Field(gt=0)]
_NotNegative = Annotated[_Number, Field(ge=0)]


class _Item(BaseModel):
    """The fields of one decision; null means absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: str
    action: Action
    leverage: Annotated[int, Field(ge=1)] | None = None
    position_size_usd: _Positive | None = None
    stop_loss: _Positive | None = None
    take_profit: _Positive | None = None
    confidence: Annotated[_Number, Field(ge=0, le=100)] | None = None
    risk_usd: _NotNegative | None = None
    max_entry_price: _Positive | None = None
    min_entry_price: _Positive | None = None
    fraction: Annotated[_Number, Field(gt=0, le=1)] | None = None
    target_quantity: _Number | None = None
    invalidation: str = ""
    reasoning: str = ""

    @field_validator("leverage", mode="before")
    @classmethod
    def whole(cls, value: object) -> int:
        """Return a number without a fraction."""
        number = exact_number(value)
        if number != number.to_integral_value():
            raise ValueError("expected a whole number such as 5")
        return int(number)

    @field_validator("invalidation", "reasoning", mode="before")
    @classmethod
    def cleaned(cls, value: object) -> str:
        """Return a text as it is kept."""
        if not isinstance(value, str):
            raise ValueError("expected text")
        return clean_text(value)

    @classmethod
    def read(cls, raw: Mapping[Any, Any]) -> Self:
        """Read the fields that say something; products that print a whole form put 0 where nothing is meant.

        A lone surrogate in a name stays visible: without it a foreign key could turn into a field.
        """
        action = raw.get("action")
        idle = _ZERO_MEANS_NONE.get(action, frozenset()) if isinstance(action, str) else frozenset()
        stated = {
            encodable(str(name)): value
            for name, value in raw.items()
            if value is not None and not (name in idle and cls._is_zero(value))
        }
        return cls.model_validate(stated)

    @staticmethod
    def _is_zero(value: object) -> bool:
        try:
            return exact_number(value) == 0
        except ValueError:
            return False

    def names_a_market(self, allowed: Collection[str]) -> bool:
        """Tell whether the symbol is an allowed one, or that of a market which none of the allowed ones can mean."""
        if self.symbol in allowed:
            return True
        return _UNIFIED.fullmatch(self.symbol) is not None and _pair(self.symbol) not in map(_pair, allowed)

    def contradictions(self) -> list[tuple[str, str]]:
        """Return the fields that the action lacks, and those that would change its meaning, each with a message."""
        action = self.action
        missing: tuple[str, ...] = ()
        if action in OPENS:
            missing = tuple(name for name in _SIZES_OF_OPENS if getattr(self, name) is None)
        elif action is Action.TARGET and self.target_quantity is None:
            missing = ("target_quantity",)
        elif action is Action.ADJUST_STOP and self.stop_loss is None and self.take_profit is None:
            return [("stop_loss", "adjust_stop needs stop_loss, take_profit or both")]
        found = [(name, f"required for {action}") for name in missing]
        if self.target_quantity is not None and action is not Action.TARGET:
            found.append(("target_quantity", f"{action} takes no target_quantity; leave it out"))
        if self.fraction not in (None, Decimal(1)) and action not in CLOSES:
            found.append(("fraction", f"{action} takes no fraction; leave it out"))
        if self.position_size_usd is not None and action in CLOSES:
            told = f"{action} takes `fraction` of the position; leave position_size_usd out"
            found.append(("position_size_usd", told))
        return found

    def decision(self) -> Decision:
        """Return the decision, with the fields that its action takes."""
        opens = self.action in OPENS
        sized = opens or self.action is Action.TARGET
        protects = sized or self.action is Action.ADJUST_STOP
        return Decision(
            symbol=self.symbol,
            action=self.action,
            leverage=self.leverage if sized else None,
            position_size_usd=self.position_size_usd if opens else None,
            stop_loss=self.stop_loss if protects else None,
            take_profit=self.take_profit if protects else None,
            confidence=self.confidence,
            risk_usd=self.risk_usd if opens else None,
            max_entry_price=self.max_entry_price if sized else None,
            min_entry_price=self.min_entry_price if sized else None,
            fraction=self.fraction if self.action in CLOSES and self.fraction is not None else Decimal(1),
            target_quantity=self.target_quantity,
            invalidation=self.invalidation,
            reasoning=self.reasoning,
        )


def _pair(symbol: str) -> str:
    """Return base and quote as one word, so that BTC/USDT and btcusdt are the same."""
    return _NO_LETTER.sub("", symbol.partition(":")[0]).casefold()


def _item_error(path: str, problem: Mapping[str, Any]) -> ItemError:
    where = "".join(f".{clean_text(str(part), 60)}" for part in problem["loc"])
    if problem["type"] == "missing":
        message = "required"
    elif problem["type"] == "extra_forbidden":
        message = "unknown field; leave it out or correct its name"
    elif problem["type"] == "enum":
        message = f"expected one of {_ACTIONS}; got {shown(problem['input'])}"
    else:
        message = f"{str(problem['msg']).removeprefix('Value error, ')}; got {shown(problem['input'])}"
    return ItemError(path=path + where, message=message)
