"""The parameters that lists share: pages by cursor, and what narrows them. One that is not known is refused."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

MOST: Final = 500
_NAME: Final = 64


def _utc(given: datetime) -> datetime:
    return given.astimezone(UTC)


Instant = Annotated[
    AwareDatetime,
    AfterValidator(_utc),
    Field(description="An instant with its zone.", examples=["2026-03-01T00:00:00Z"]),
]
Name = Annotated[str, Field(max_length=_NAME)]


class Page(BaseModel):
    """Ask for one page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=MOST, description="How many at most.")
    after: str = Field(default="", max_length=400, description="The `next` of the page before; empty for the first.")


class OfAccount(Page):
    """Narrow a list to an account."""

    account: Name = Field(default="", description="Only of this account.")


class OfTrader(OfAccount):
    """Narrow a list to an account or a trader."""

    trader: Name = Field(default="", description="Only of this trader.")


class Within(OfTrader):
    """Narrow a list to a time, too."""

    since: Instant | None = Field(default=None, description="From this instant on, with its zone.")
    until: Instant | None = Field(default=None, description="Up to this instant, with its zone.")


class OfSymbol(Within):
    """Narrow a list to a symbol, too."""

    symbol: Name = Field(default="", description="Only of this symbol.")
