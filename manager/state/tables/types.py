"""The column types of the state: money that is always a number, instants, structured values."""

from typing import Any

from sqlalchemy import BigInteger, DateTime, Float, Numeric, Text
from sqlalchemy.dialects.postgresql import DOMAIN, JSONB
from sqlalchemy.sql.operators import OperatorClass
from sqlmodel import SQLModel


class _Money(DOMAIN):
    operator_classes = OperatorClass.NUMERIC


MONEY: Any = _Money(
    "money_value",
    Numeric(),
    check="VALUE > '-Infinity'::numeric AND VALUE < 'Infinity'::numeric",
    constraint_name="money_value_check",
)
KEY: Any = Text(collation="C")
TEXT: Any = Text()
INSTANT: Any = DateTime(timezone=True)
JSON: Any = JSONB()
COUNT: Any = BigInteger()
REAL: Any = Float(53)


class Declared(SQLModel):
    """Build no validator of a table before it is asked for: a table does not validate, and they take long to build."""

    model_config = {"defer_build": True}
