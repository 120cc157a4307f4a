"""The errors a venue or market feed may raise.

ExchangeError
 +- ExchangeConfigError      settings that no venue could work with
 +- MarketDataError          prices are missing, malformed or out of order
 +- OrderRejected            the venue said no: nothing stands, nothing was filled
 +- OrderDenied              the request never left: a local check or an expiry refused it
 +- OutcomeUnknown           timeout, disconnect or an unreadable answer: the order may stand
 +- VenueUnavailable         a read failed; nothing may be concluded from it
"""


class ExchangeError(Exception):
    """Stand at the root of all venue errors."""


class ExchangeConfigError(ExchangeError):
    """Report settings that cannot work, with the field, the value and the mend."""


class MarketDataError(ExchangeError):
    """Report unusable prices, with file, row, field, value and mend where there is a file."""


class OrderRejected(ExchangeError):
    """Report that the venue said no to the order; `code` is the venue's or ours."""

    def __init__(self, reason: str, *, code: str = "REJECTED") -> None:
        super().__init__(reason)
        self.code = code


class OrderDenied(ExchangeError):
    """Report that the order never left this process."""


class OutcomeUnknown(ExchangeError):
    """Report that it is not known whether the venue has the order."""


class VenueUnavailable(ExchangeError):
    """Report that a read failed; the truth is not known."""
