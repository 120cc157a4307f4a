"""The words in which rows say what state they are in."""

from enum import StrEnum


class TradingState(StrEnum):
    """Name how far a scope may trade; anything but ACTIVE stops entries only."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"

    @property
    def strictness(self) -> int:
        """Return how strict it is, 0 for the least."""
        return (TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED).index(self)


class SwitchScope(StrEnum):
    """Name what a trading state is of, the widest first: what it says holds for all within it."""

    SERVICE = "service"
    TENANT = "tenant"
    ACCOUNT = "account"
    TRADER = "trader"


class Role(StrEnum):
    """Name what a key may do, each all that those before it may; a service admin manages tenants and the service."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    SERVICE_ADMIN = "service_admin"


class KeyState(StrEnum):
    """Name whether an API key still opens anything; one that is ENDING is revoked from a later instant on."""

    ACTIVE = "active"
    ENDING = "ending"
    EXPIRED = "expired"
    REVOKED = "revoked"

    @property
    def opens(self) -> bool:
        """Tell whether the key opens anything."""
        return self in (KeyState.ACTIVE, KeyState.ENDING)


class SecretKind(StrEnum):
    """Name whose secret it is: an exchange account's or a model's."""

    ACCOUNT = "account"
    MODEL = "model"


class StateCode(StrEnum):
    """Name why a trader is in its state where that decides what becomes of it; a person's reason is text beside it."""

    NONE = ""
    REMOVED_FROM_CONFIG = "removed_from_config"
    FUNDED = "funded"
    SHARPE = "SHARPE"
    FAILURES = "FAILURES"
    VIOLATIONS = "VIOLATIONS"
    BANKRUPT = "BANKRUPT"
    OPERATOR = "OPERATOR"


class IntentStatus(StrEnum):
    """Name what became of an intent; only PENDING ones are read by a round."""

    PENDING = "pending"
    CONSUMED = "consumed"
    DONE = "done"
    DENIED = "denied"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


class VerdictKind(StrEnum):
    """Name what a verdict says: an entry refused, an entry or stop cut down, or a part of a reply not readable."""

    DENIAL = "denial"
    CLAMP = "clamp"
    INVALID = "invalid"


class OrderPurpose(StrEnum):
    """Name why the desk sent an order."""

    ENTRY = "entry"
    REDUCE = "reduce"
    STOP = "stop"
    TAKE_PROFIT = "take_profit"
    LIQUIDATION = "liquidation"

    @property
    def protects(self) -> bool:
        """Tell whether such an order guards a position: a stop or a take-profit."""
        return self is OrderPurpose.STOP or self is OrderPurpose.TAKE_PROFIT


class OrderState(StrEnum):
    """Name the desk's knowledge of an order: PENDING is persisted and perhaps sent, ABSENT proven never arrived."""

    PENDING = "pending"
    DENIED = "denied"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    ABSENT = "absent"

    @property
    def live(self) -> bool:
        """Tell whether the venue may still hold or fill it."""
        return self is OrderState.ACCEPTED or self is OrderState.PENDING or self is OrderState.UNKNOWN

    @property
    def unresolved(self) -> bool:
        """Tell whether it is not known if the venue has it."""
        return self is OrderState.PENDING or self is OrderState.UNKNOWN


class LedgerKind(StrEnum):
    """Name the postings of the append-only ledger."""

    DEPOSIT = "deposit"
    WITHDRAW = "withdraw"
    ALLOCATE = "allocate"
    REBALANCE = "rebalance"
    RECAPITALISE = "recapitalise"
    REALIZED = "realized"
    FEE = "fee"
    FUNDING = "funding"
    ROUNDING = "rounding"
    INTEREST = "interest"
    VENUE_FEE = "venue_fee"
    VENUE_OTHER = "venue_other"

    @property
    def moves_cash(self) -> bool:
        """Tell whether the venue's cash history says it, so that it is in no other book."""
        return self in (
            LedgerKind.DEPOSIT,
            LedgerKind.WITHDRAW,
            LedgerKind.INTEREST,
            LedgerKind.VENUE_FEE,
            LedgerKind.VENUE_OTHER,
        )


class ActKind(StrEnum):
    """Name the acts that are done once for each key; FIRST_KEY is that of a desk's first start."""

    CLOSE = "close"
    FLATTEN = "flatten"
    END_FLATTEN = "end_flatten"
    ISOLATE = "isolate"
    FUND = "fund"
    FIRST_KEY = "first_key"
    CHANGE = "change"
    REGISTER = "register"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


class ScopeKind(StrEnum):
    """Name what a flatten is of: a trader, an account, or all accounts of a tenant."""

    TRADER = "trader"
    ACCOUNT = "account"
    TENANT = "tenant"


class Afterwards(StrEnum):
    """Name what stays of a flatten when all is closed: the scope halted, its traders stopped, or nothing."""

    HALT = "halt"
    STOP = "stop"
    STAND_BY = "stand_by"


class FlattenState(StrEnum):
    """Name how far a flatten is: OPEN blocks entries; it ends FLAT, with something LEFT, or CANCELED by an operator."""

    OPEN = "open"
    FLAT = "flat"
    LEFT = "left"
    CANCELED = "canceled"


class WhyLeft(StrEnum):
    """Name why a position that an operator wants closed is not closed yet, or stays."""

    WAITING = "waiting"
    NO_WORKER = "no_worker"
    VENUE_UNAVAILABLE = "venue_unavailable"
    UNKNOWN_OUTCOME = "unknown_outcome"
    UNDER_WAY = "under_way"
    REFUSED = "refused"
    STOP_IN_THE_WAY = "stop_in_the_way"
    EXTERNAL_OVERLAP = "external_overlap"
    DUST = "dust"
    EXTERNAL = "external"


class EventKind(StrEnum):
    """Name what is kept as events: acts on traders and accounts, what becomes of the desk as a whole, who came."""

    TRADER_REGISTERED = "trader_registered"
    TRADER_UPDATED = "trader_updated"
    TRADER_STATE = "trader_state"
    TRADER_REMOVED = "trader_removed"
    TRADER_FUNDED = "trader_funded"
    CLOSE_ASKED = "close_asked"
    FLATTEN_BEGUN = "flatten_begun"
    FLATTEN_ENDED = "flatten_ended"
    TRADING_STATE = "trading_state"
    TENANT_STATE = "tenant_state"
    SERVICE_STATE = "service_state"
    REBALANCE = "rebalance"
    ACCOUNT_TERMS = "account_terms"
    DESK_STARTED = "desk_started"
    DESK_STOPPED = "desk_stopped"
    PROCESS_ENDED = "process_ended"
    CONFIG_CHANGED = "config_changed"
    KEY_ISSUED = "key_issued"
    KEY_ROTATED = "key_rotated"
    KEY_REVOKED = "key_revoked"
    LOGGED_IN = "logged_in"
    ACCESS_REFUSED = "access_refused"
    SERVICE_KEY_CHANGED = "service_key_changed"
