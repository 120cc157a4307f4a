"""The errors of the manager.

ManagerError
 +- UnknownTrader      no trader has this id
 +- UnknownAccount     no account has this name
 +- UnknownReference   nothing that was kept has this id
 +- UnknownCursor      no page of this view ended there
 +- RegistrationError  the trader cannot be taken on as defined
 |   +- OtherDeskRuns  another config is at work on the same accounts
 +- VersionMoved       the definition is no longer the one that a change was made from
 +- NotFlat            the trader holds positions and was not forced
 +- FundingRefused     the trader cannot be recapitalised, or not with this amount
 +- NothingHeld        there is no position to close
 +- NoFlatten          no flatten of this scope is under way
 +- ActKeyRefused      the key of an act is none, or stands for another act
 +- StillBankrupt      what is at or below zero cannot be started or resumed
 +- PortTaken          the web's port is not free
 +- SettingsRefused    a variable of the environment cannot be used
 +- DatabaseUrlRefused DATABASE_URL names no PostgreSQL database
 +- SecretKeyRefused   PROPDESK_SECRET_KEY or the file secret.key is no key, or others may read it
 +- KeyRefused         an API key cannot be issued or changed so
 |   +- UnknownKey     no API key has this id
 +- UnknownTenant      no tenant has this id
 +- ReplayError        a replay cannot go on or be written
     +- ReplayInputError  config, candles, funding and decisions do not fit together
"""

from dataclasses import dataclass

from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Hold one mistake: the place of the field, the value as it may be shown, and how to mend it.

    `lack` says what is wrong where several traders may have the same mistake; `trader_id` whose definition it is in.
    """

    loc: tuple[str | int, ...]
    value: str
    mend: str
    lack: str = ""
    trader_id: TraderId = TraderId("")

    @property
    def text(self) -> str:
        """Return what is wrong and how to mend it."""
        return f"{self.lack}; {self.mend}" if self.lack else self.mend


class ManagerError(Exception):
    """Stand at the root of all manager errors."""


class UnknownSymbol(ManagerError):
    """Report a symbol that no trader has and nothing was done in."""


class AmbiguousId(ManagerError):
    """Report the beginning of an id that several orders share, with those."""


class UnknownTrader(ManagerError):
    """Report a trader id that nobody has."""

    @staticmethod
    def of(trader_id: TraderId) -> "UnknownTrader":
        """Return the error of this id."""
        return UnknownTrader(f"there is no trader {trader_id!r}; `propdesk traders list` names them")


class UnknownAccount(ManagerError):
    """Report an account name that nobody has."""


class UnknownReference(ManagerError):
    """Report an id that no order, trade, intent or decision has."""

    @staticmethod
    def of(ref: str) -> "UnknownReference":
        """Return the error of this id."""
        return UnknownReference(
            f"there is no order, trade, intent or decision {ref!r}, nor a trader that has decided; it is of another "
            "tenant, was deleted by retention, or never was. `propdesk operations` lists orders and denied intents"
        )


class UnknownCursor(ManagerError):
    """Report a text that no page of the view has given as the cursor of the next."""


class RegistrationError(ManagerError):
    """Report why a trader cannot be registered, with field, value and mend; `fault` says so in parts where one is."""

    def __init__(self, message: str, fault: "Fault | None" = None) -> None:
        super().__init__(message)
        self.fault = fault


class OtherDeskRuns(RegistrationError):
    """Report two configs that would trade the same accounts, with both and how they differ."""


class VersionMoved(ManagerError):
    """Report a change that was made from a definition that others have changed since."""


class NotFlat(ManagerError):
    """Report that a trader still holds positions."""


class FundingRefused(ManagerError):
    """Report why a trader cannot be recapitalised, with the largest amount that would be taken."""


class NothingHeld(ManagerError):
    """Report that a trader has no such position, with what it holds."""


class NoFlatten(ManagerError):
    """Report a scope of which no flatten is under way."""


class ActKeyRefused(ManagerError):
    """Report the key of an act that cannot be used, or that stands for an act with other arguments."""


class StillBankrupt(ManagerError):
    """Report a trader or an account whose money is used up, and what must come first."""


class PortTaken(ManagerError):
    """Report that the web cannot listen where it was told to."""


class SettingsRefused(ManagerError):
    """Report the variables of the environment that cannot be used, each with its value and the mend on a line."""


class DatabaseUrlRefused(ManagerError):
    """Report a DATABASE_URL that names no PostgreSQL database: its value without the password, and the mend."""


class SecretKeyRefused(ManagerError):
    """Report a service key that cannot be used, with where it is and the mend; its value is never in it."""


class KeyRefused(ManagerError):
    """Report why an API key cannot be issued or changed so."""


class UnknownKey(KeyRefused):
    """Report an id that no API key of the tenant has."""


class UnknownTenant(ManagerError):
    """Report a tenant id that nobody has."""


class ReplayError(ManagerError):
    """Report a replay that cannot go on, or whose files cannot be written."""


class ReplayInputError(ReplayError):
    """Report inputs that do not fit together, with file, field, value and mend."""
