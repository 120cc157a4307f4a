"""Write docs/api.md: the table of routes, and a desk run with curl alone, with what each call answered.

`make api-tour` writes the page anew; a test makes the same calls and compares what they answer.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from exchanges.clock import SystemClock
from manager.api.app import create_app
from manager.api.caller import Needs
from manager.api.desk import Desk
from manager.config import Config
from manager.state.secrets import ServiceKey
from pages.first_hour import Shell
from pages.markdown import table

PAGE: Final = Path("docs/api.md")
COMMAND: Final = re.compile(r"^    \$ (.+)$", re.MULTILINE)
HEAD: Final = """\
# The API

Everything that the command line does is under `/api/v1`, with the same words: an answer is the JSON that the same
command prints with `--json`. `/openapi.json` describes each route; it, `/healthz`, `/readyz` and nothing else need no
key.

- A key is sent as `Authorization: Bearer pd_...` or as `X-API-Key: pd_...`; `propdesk keys create` makes one,
  `propdesk run` the first. It belongs to a tenant and has a role: a viewer looks, an operator moves, halts, closes and
  flattens, an admin defines traders and makes keys, a service admin does it in every tenant (header `X-Tenant`) and for
  the service.
- Decimals are strings, times are UTC. Lists have `limit` and `after`, and `next` in the answer: the cursor of the next
  page, empty at the end. A parameter or a field that is not known is refused.
- What is not carried out is answered with `application/problem+json`: `type`, `detail`, and in `errors` each field with
  its value and its mend. 401 without a sound key, 403 without the role, 404 for what is not there or of another tenant,
  409 for what is not possible now, 412 and 428 for changes (below), 422 for what is wrong, 429 with `Retry-After` for
  who asks too often, 503 with `Retry-After` while the database is away.
- A POST with an `Idempotency-Key` is done once: the same key with the same body gets the same answer, with another body
  422, while it is under way 409. Keys are made without one: an answer that holds a secret is not kept. A
  halt, reduce or resume takes none (422): what is so already is left as it is.
- A change of a definition names with `If-Match` the version that it was made from, the `ETag` of `GET .../definition`.
- `/events/stream` sends what was done as server-sent events; `Last-Event-ID` goes on where a reader stopped.

For who comes from elsewhere: freqtrade's `status`, `trades`, `performance`, `profit`, `balance`, `forceexit` and
`show_config` are `status`, `trades`, `performance`, `accounts/{id}/series`, `accounts/{id}/portfolio`,
`traders/{id}/close` and `traders/{id}/definition`; hummingbot's `portfolio/state` and `trading/positions` are
`accounts/{id}/portfolio`.
"""
TOUR: Final = """
## A desk with curl alone

In an empty folder, with `propdesk run` in another window, `$API` its address and `$KEY` the key that its first start
made; answers are shortened to some lines. `make api-tour` makes these calls and writes this page; a test makes them
again.
"""
WITHIN_S: Final = 120
_LINES: Final = 14
_TRADER: Final = (
    '{"id": "night", "exchange": "paper", "executor": {"type": "baseline", "style": "trend"}, '
    '"symbols": ["BTC/USDT:USDT", "ETH/USDT:USDT"], "decision_interval": "5s"}'
)
_BODY: Final = '-H "Content-Type: application/json" -d'


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """Hold one call, why it was made, and what it answered."""

    why: str
    command: str
    answer: Any

    @property
    def shape(self) -> Any:
        """Return what is the same at each run: the names of the fields."""
        return sorted(self.answer) if isinstance(self.answer, dict) else type(self.answer).__name__

    @property
    def page(self) -> str:
        """Return it as Markdown."""
        lines = json.dumps(self.answer, indent=2).splitlines()
        shown = lines if len(lines) <= _LINES else [*lines[:_LINES], "  ..."]
        return f"\n{self.why}\n\n    $ {self.command}\n" + "".join(f"    {line}\n" for line in shown)


@dataclass
class Tour:
    """Make calls to a desk that runs in a folder."""

    folder: Path
    shell: Shell
    called: list[Called] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def open_desk(self) -> None:
        """Start a desk and learn its address and its first key."""
        self.shell.type("", "propdesk init --traders trend,fade,breakout,bear --symbols BTC,ETH,SOL --interval 5s")
        self.shell.open_desk()
        key = self.folder / ".propdesk" / "first-admin.key"
        ends = time.monotonic() + WITHIN_S
        while not (key.exists() and key.read_text().strip()):
            if time.monotonic() > ends:
                raise RuntimeError(f"the desk has made no key within {WITHIN_S} s")
            time.sleep(0.5)
        told = self.shell.desk.stdout if self.shell.desk is not None else None
        line = next(line for line in told or () if "http://127.0.0.1:" in line)
        [address] = re.findall(r"http://127\.0\.0\.1:\d+", line)
        self.env = {"API": f"{address}/api/v1", "KEY": key.read_text().strip(), "PATH": "/usr/bin:/bin"}
        self.until("role", "$API/whoami")

    def call(self, why: str, command: str, headers: str = '-H "X-API-Key: $KEY" ') -> Any:
        """Make a call with the key, keep and return what it answered."""
        full = f"curl -s {headers}{command}"
        answer = self.ask(full)
        self.called.append(Called(why=why, command=full, answer=answer))
        return answer

    def until(self, name: str, command: str) -> None:
        """Ask untold until the answer has something under `name`."""
        answer: Any = {}
        ends = time.monotonic() + WITHIN_S
        while not answer.get(name):
            if time.monotonic() > ends:
                raise RuntimeError(f"{command} has not told {name} within {WITHIN_S} s: {answer}")
            time.sleep(0.5)
            answer = self.ask(f'curl -s -H "X-API-Key: $KEY" {command}')

    def ask(self, command: str) -> Any:
        """Return the JSON that a call answers, untold."""
        process = subprocess.run(
            ["bash", "-c", command], env=self.env, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        return json.loads(process.stdout or "{}")


def tour(folder: Path) -> list[Called]:
    """Run a desk with curl alone and return the calls; end what was started, whatever happens."""
    shell = Shell(folder)
    made = Tour(folder, shell)
    try:
        made.open_desk()
        _trade(made)
        _halt(made)
    finally:
        if shell.desk is not None:
            shell.desk.terminate()
            shell.desk.communicate(timeout=WITHIN_S)
    return made.called


def _trade(tour: Tour) -> None:
    tour.call("Nothing is told without a key.", "$API/status", headers="")
    tour.call("Whose key is this?", "$API/whoami")
    tour.call("Take a trader on.", f"-H \"Idempotency-Key: night-1\" {_BODY} '{_TRADER}' $API/traders")
    tour.call("A mistake names its field, value and mend.", f"{_BODY} '{_wrong()}' $API/traders")
    tour.until("rows", '"$API/decisions?trader=night"')
    tour.call("It decides.", '"$API/decisions?trader=night&limit=1"')
    tour.call("What does it hold, and how near is it to its limits?", "$API/traders/night")
    tour.call("Pause it.", f'{_BODY} \'{{"reason": "lunch"}}\' $API/traders/night/pause')
    read = tour.call(
        "Read its definition, with the version that a change has to name.", "$API/traders/night/definition"
    )
    change = '{"risk_params": {"max_positions": 1}, "reason": "smaller"}'
    match = f"-H 'If-Match: \"{read['version']}\"'"
    tour.call("Change a limit.", f"-X PATCH {match} {_BODY} '{change}' $API/traders/night")
    tour.call(
        "The same change from the old version is refused.", f"-X PATCH {match} {_BODY} '{change}' $API/traders/night"
    )
    tour.call("Let it go; with `force` it is closed first.", '-X DELETE "$API/traders/night?force=true&reason=done"')


def _halt(tour: Tour) -> None:
    tour.call("Take no entries any more.", f'{_BODY} \'{{"account": "paper", "reason": "news"}}\' $API/risk/halt')
    tour.call("What would a flatten close?", '"$API/flatten?account=paper&then=halt"')
    plan = tour.ask('curl -s -H "X-API-Key: $KEY" "$API/flatten?account=paper&then=halt"')
    tour.env["CONFIRM"] = plan["confirm"]
    body = '"{\\"account\\": \\"paper\\", \\"then\\": \\"halt\\", \\"confirm\\": \\"$CONFIRM\\"}"'
    asked = tour.call("Flatten, with the `confirm` of that answer.", f"{_BODY} {body} $API/flatten")
    place = f"$API/flatten/{asked['parts'][0]['flatten_id']}"
    tour.until("done", place)
    tour.call("How far is it?", place)
    tour.call("Trade on.", f'{_BODY} \'{{"account": "paper", "reason": "calm again"}}\' $API/risk/resume')
    tour.call("What was done, by whom and why?", '"$API/events?kind=trading_state"')


def _wrong() -> str:
    return _TRADER.replace('"night"', '"night two"').replace('"5s"', '"5x"')


def routes(within: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield method, path, role and meaning of every route, those of included routers too."""
    for route in within:
        if hasattr(route, "effective_candidates"):
            yield from routes(route.effective_candidates())
        elif hasattr(route, "dependant") and route.include_in_schema:
            needs = [one.call for one in route.dependant.dependencies if isinstance(one.call, Needs)]
            told = (route.description or "").split("\n")[0]
            for method in sorted(route.methods):
                yield method, f"`{route.path}`", needs[0].role if needs else "", told


def render(called: list[Called], app: FastAPI) -> str:
    """Return the page."""
    rows = sorted(routes(app.routes), key=lambda row: (row[1], row[0]))
    known = "\n## Routes\n\n" + table(("method", "path", "role", "what it does"), rows)
    return HEAD + known + TOUR + "".join(one.page for one in called)


def bare_app() -> FastAPI:
    """Return the application without a desk, for its routes."""
    nothing: Any = Config.__new__(Config)
    return create_app(Desk(config=nothing, clock=SystemClock(), secrets=ServiceKey(value=bytes(32))))


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory(prefix="api-tour-") as name:
        text = render(tour(Path(name)), bare_app())
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{PAGE} is written anew\n")


if __name__ == "__main__":
    main()
