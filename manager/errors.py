"""The errors of the manager.

ManagerError
 +- UnknownTrader      no trader has this id
 +- UnknownAccount     no account has this name
 +- UnknownCursor      no page of this view ended there
 +- RegistrationError  the trader cannot be taken on as defined
 |   +- OtherDeskRuns  another config is at work on the same accounts
 +- NotFlat            the trader holds positions and was not forced
 +- PortTaken          the web's port is not free
 +- SettingsRefused    a variable of the environment cannot be used
 +- DatabaseUrlRefused DATABASE_URL is of another kind
"""

from dataclasses import dataclass

from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Hold what is wrong with which field of a trader's definition, for those who know where it was written."""

    trader_id: TraderId
    field: str
    value: str
    mend: str


class ManagerError(Exception):
    """Stand at the root of all manager errors."""


class UnknownTrader(ManagerError):
    """Report a trader id that nobody has."""


class UnknownAccount(ManagerError):
    """Report an account name that nobody has."""


class UnknownCursor(ManagerError):
    """Report a text that no page of the view has given as the cursor of the next."""


class RegistrationError(ManagerError):
    """Report why a trader cannot be registered, with field, value and mend; `fault` says so in parts where one is."""

    def __init__(self, message: str, fault: "Fault | None" = None) -> None:
        super().__init__(message)
        self.fault = fault


class OtherDeskRuns(RegistrationError):
    """Report two configs that would trade the same accounts, with both and how they differ."""


class NotFlat(ManagerError):
    """Report that a trader still holds positions."""


class PortTaken(ManagerError):
    """Report that the web cannot listen where it was told to."""


class SettingsRefused(ManagerError):
    """Report the variables of the environment that cannot be used, each with its value and the mend on a line."""


class DatabaseUrlRefused(ManagerError):
    """Report a DATABASE_URL that is no PostgreSQL URI, without its value."""
