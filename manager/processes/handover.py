"""Hand a config from the process that read it to its children: a file is read once a start, however large it is."""

import os
import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import replace

from manager.config.values import Config


def handed_over(config: Config) -> int:
    """Return a descriptor that children inherit and read `config` from, as often as they are started again.

    No secret is in it: a child takes those from its own environment.
    """
    nameless = replace(config, path=config.path.resolve(), secrets=dict.fromkeys(config.secrets, ""))
    descriptor = os.memfd_create("config") if hasattr(os, "memfd_create") else _unlinked_file()
    with open(descriptor, "wb", closefd=False) as file:
        pickle.dump(nameless, file)
    return descriptor


def taken_over(descriptor: int, env: Mapping[str, str] = os.environ, *, secret: bool = True) -> Config:
    """Return the config that the parent handed over, its secrets from `env`; KeyError for one that is not there.

    Without `secret` it has none: who only checks definitions needs none.
    """
    size = os.fstat(descriptor).st_size
    config: Config = pickle.loads(os.pread(descriptor, size, 0))  # noqa: S301 - from our own parent only
    return replace(config, secrets={name: env[name] for name in config.secrets} if secret else {})


def _unlinked_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
