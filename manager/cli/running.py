"""`propdesk run` and `propdesk worker`."""

import asyncio
from typing import Annotated

import typer

from manager.cli.options import CONFIG_DEFAULT, DATA_DEFAULT, ConfigOption, DataDirOption, read_config

PortOption = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="The loopback port of the web process; 0 takes a free one.")
]


def run(config: ConfigOption = CONFIG_DEFAULT, port: PortOption = 8000, data_dir: DataDirOption = DATA_DEFAULT) -> None:
    """Trade: supervise a trading worker and the web process until Ctrl-C."""
    path = read_config(config).path
    from manager.bootstrap import run_supervised

    raise typer.Exit(asyncio.run(run_supervised(path, data_dir, port)))


def worker(config: ConfigOption = CONFIG_DEFAULT, data_dir: DataDirOption = DATA_DEFAULT) -> None:
    """Run jobs only; start as many as you like on one DATABASE_URL."""
    path = read_config(config).path
    from manager.bootstrap import run_worker

    raise typer.Exit(asyncio.run(run_worker(path, data_dir)))
