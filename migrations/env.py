"""Run the migrations on a connection: the one `upgrade` hands over, else one to DATABASE_URL as the owner."""

import os

from alembic import context
from sqlalchemy import Connection, text

from manager.state.postgres.upgrade import COMPARISON, connect
from manager.state.tables import METADATA


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=METADATA, **COMPARISON)
    with context.begin_transaction():
        context.run_migrations()


def _main() -> None:
    handed: Connection | None = context.config.attributes.get("connection")
    if handed is not None:
        _run(handed)
        return
    with connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute(text("SET ROLE propdesk_owner"))
        connection.commit()
        _run(connection)


_main()
