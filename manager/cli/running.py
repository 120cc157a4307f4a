"""`propdesk run` and `propdesk worker`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from manager.cli.guard import Refused
from manager.cli.options import CONFIG_DEFAULT, DATA_DEFAULT, ConfigOption, DataDirOption, read_config, setting
from manager.config import MarketType

PortOption = Annotated[
    int,
    typer.Option(
        "--port",
        min=0,
        max=65535,
        callback=setting,
        help="The loopback port of the web process; 0 takes a free one. PROPDESK_PORT sets it too.",
    ),
]


def run(config: ConfigOption = CONFIG_DEFAULT, port: PortOption = 8000, data_dir: DataDirOption = DATA_DEFAULT) -> None:
    """Trade: supervise a trading worker and the web process until Ctrl-C."""
    path = _real_time(config)
    from manager.bootstrap.live import run_supervised
    from manager.settings import read_settings

    raise typer.Exit(asyncio.run(run_supervised(path, read_settings(data_dir=data_dir, port=port))))


def worker(config: ConfigOption = CONFIG_DEFAULT, data_dir: DataDirOption = DATA_DEFAULT) -> None:
    """Run jobs only; start as many as you like on one DATABASE_URL."""
    path = _real_time(config)
    from manager.bootstrap.live import run_worker
    from manager.settings import read_settings

    raise typer.Exit(asyncio.run(run_worker(path, read_settings(data_dir=data_dir))))


def _real_time(path: Path) -> Path:
    """Return the path of a sound config whose traders all have prices that go on in real time."""
    config = read_config(path)
    for tenant in config.tenants.values():
        for trader in tenant.traders:
            if tenant.accounts[trader.account].market.type is MarketType.REPLAY:
                raise Refused(
                    f"{path}: trader {trader.id} is on account {trader.account}, whose market is a replay; "
                    "use `propdesk replay`, or give the account a market of type synthetic"
                )
    return path
