"""Serve a scripted endpoint beside a command, which has an event loop of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from beside_command import beside
from openai_endpoint import Answer, Endpoint, endpoint


@contextmanager
def served(choose: Callable[[dict[str, Any]], Answer]) -> Iterator[Endpoint]:
    """Run an endpoint in a thread; `choose` picks the answer by what is asked."""
    with beside(endpoint()) as fake:
        fake.choose = choose
        yield fake
