"""Measure 1,000 model calls in flight from one process, and what ten hanging ones cost forty others.

The endpoint is a process of its own on loopback that answers after two seconds. Every call is a whole decision: the
shipped template rendered for a context of about 4,000 tokens, one request, the reply judged against the contract.
Run it as `python benchmarks/model_calls.py [calls]`.
"""

import asyncio
import gc
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it ships no annotations

from executor.contract import Context, Executor, Outcome
from executor.models.chat import ModelEndpoint
from executor.models.clients import ModelClients
from executor.models.profile import ModelProfile, TokenPrices
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, build_executor

CALLS = 1_000
SILENT, QUICK = 10, 40
ANSWER_S = 2.0
TICK_S = 0.005
TOKENS = 4_000
COINS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "BNB", "ADA", "AVAX", "LINK", "LTC")
SILENT_NAME = b"the silent trader"
PROMPTS = Path(__file__).resolve().parents[1] / "prompts"


@dataclass(frozen=True)
class Measured:
    """Hold what one wave of calls took; lag is how late a timer of 5 ms fired."""

    wall_s: float
    cpu_s: float
    lags_ms: list[float]
    peak_bytes: int


def answer() -> bytes:
    """Return a completion with one open and a paragraph of reasoning, as it goes over the wire."""
    opened = {
        "symbol": "BTC/USDT:USDT",
        "action": "open_long",
        "leverage": 3,
        "position_size_usd": 500,
        "stop_loss": 98.5,
        "take_profit": 106.5,
        "confidence": 82,
        "reasoning": "momentum and volume agree " * 8,
    }
    text = json.dumps({"reasoning": "the trend holds above both averages " * 12, "decisions": [opened]})
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": TOKENS, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 3_000}}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    body = json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage})
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


class Answering(asyncio.Protocol):
    """Answer each request on a connection after ANSWER_S, as cheaply as possible; those of silent traders never."""

    reply = answer()

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Collect a request and schedule its answer."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._received = b""
            if SILENT_NAME in body:
                return
            asyncio.get_running_loop().call_later(ANSWER_S, self._transport.write, self.reply)


def serve(port_to: Any) -> None:
    """Run the endpoint in this process for ever and send its port."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=4_096)
        port_to.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def context_of(prompts: PromptLibrary, tokens: int) -> tuple[Context, int]:
    """Return the smallest sample context whose prompt has about `tokens` tokens, and how many it has."""
    for count in range(2, len(COINS) + 1):
        context = sample_context(tuple(f"{coin}/USDT:USDT" for coin in COINS[:count]))
        size = prompts.render("general.md", context).tokens
        if size >= tokens * 0.95:
            break
    return context, size


async def wave(executors: list[Executor], context: Context, spread_s: float) -> Measured:
    """Decide once with every executor, begun evenly over `spread_s`."""
    process, lags = psutil.Process(), list[float]()
    peak = 0

    async def tick() -> None:
        nonlocal peak
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            lags.append((time.perf_counter() - due) * 1_000)
            if len(lags) % 20 == 0:
                peak = max(peak, process.memory_info().rss)

    async def one(number: int, executor: Executor) -> None:
        await asyncio.sleep(spread_s * number / len(executors))
        decision = await executor.decide(replace(context, trader_id=f"t{number}"))
        if decision.outcome is not Outcome.DECIDED or len(decision.decisions) != 1:
            raise SystemExit(f"a call failed: {decision.outcome} {decision.errors}")

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(TICK_S)
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(number, executor) for number, executor in enumerate(executors)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    ticking.cancel()
    return Measured(wall_s=wall, cpu_s=cpu, lags_ms=sorted(lags), peak_bytes=peak)


async def parts_of_a_call(context: Context, prompts: PromptLibrary) -> dict[str, float]:
    """Return the CPU of the parts of a decision that need no endpoint, in ms."""
    from executor.reply.parser import json_schema, parse_reply

    symbols = frozenset(context.symbols)
    text = json.loads(Answering.reply.partition(b"\r\n\r\n")[2])["choices"][0]["message"]["content"]
    parts: dict[str, Callable[[], Any]] = {
        "render the prompt": lambda: prompts.render("general.md", context),
        "make the schema": lambda: json_schema(symbols),
        "judge the reply": lambda: parse_reply(text, symbols),
    }
    found = {}
    for name, part in parts.items():
        part()
        began = time.process_time()
        for _ in range(200):
            part()
        found[name] = (time.process_time() - began) * 1_000 / 200
    return found


def build(port: int, calls: int, prompts: PromptLibrary, clients: ModelClients) -> list[Executor]:
    """Return one executor a call, all on one model."""
    endpoint = ModelEndpoint(base_url=f"http://127.0.0.1:{port}/v1", model="m", api_key="k", timeout_s=60.0)
    prices = TokenPrices(input=Decimal("0.25"), cached_input=Decimal("0.025"), output=Decimal(2))
    profile = ModelProfile(name="m", endpoint=endpoint, max_concurrency=calls, prices=prices)
    parts = ExecutorParts(prompts=prompts, clients=clients, monotonic=time.monotonic, models={"m": profile})
    spec = ExecutorSpec(type=ExecutorType.LLM, model="m", timeout_s=60.0, prompt_template="general.md")
    return [build_executor(spec, parts) for _ in range(calls)]


async def hanging(executors: list[Executor], context: Context, silent: int) -> list[float]:
    """Return the seconds that the last QUICK executors took while the first `silent` of the others never heard back."""

    async def one(name: str, executor: Executor) -> float:
        began = time.perf_counter()
        await executor.decide(replace(context, trader_name=name))
        return time.perf_counter() - began

    waiting = [asyncio.create_task(one(SILENT_NAME.decode(), each)) for each in executors[:silent]]
    took = await asyncio.gather(*(one("quick", each) for each in executors[-QUICK:]))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return sorted(took)


async def measure(port: int, calls: int) -> None:
    """Run the waves and print their figures."""
    prompts, clients = PromptLibrary(PROMPTS), ModelClients()
    context, tokens = context_of(prompts, TOKENS)
    print(f"{calls:,} calls, prompt of about {tokens:,} tokens, endpoint answers after {ANSWER_S:g} s")
    for name, cost_ms in (await parts_of_a_call(context, prompts)).items():
        print(f"  {name:<20} {cost_ms:6.2f} ms CPU")
    executors = build(port, calls, prompts, clients)
    gc.collect()
    before = psutil.Process().memory_info().rss
    waves: list[tuple[str, Callable[[], Awaitable[Measured]]]] = [
        ("all at once, new connections", lambda: wave(executors, context, 0.0)),
        ("all at once", lambda: wave(executors, context, 0.0)),
        ("spread over 2 s", lambda: wave(executors, context, ANSWER_S)),
        ("spread over 8 s", lambda: wave(executors, context, 4 * ANSWER_S)),
    ]
    print(f"{'wave':<30}{'calls/s':>9}{'wall s':>8}{'CPU ms/call':>13}{'lag p50':>9}{'p99':>8}{'max ms':>9}")
    for name, run in waves:
        seen = await run()
        lags = seen.lags_ms
        line = f"{name:<30}{calls / seen.wall_s:>9.0f}{seen.wall_s:>8.2f}{seen.cpu_s * 1_000 / calls:>13.2f}"
        print(f"{line}{lags[len(lags) // 2]:>9.1f}{lags[len(lags) * 99 // 100]:>8.1f}{lags[-1]:>9.1f}")
        if name.endswith("connections"):
            kept = (seen.peak_bytes - before) / calls / 1024
            print(f"  memory per call in flight, its connection included: {kept:.0f} KiB")
    for silent in (0, SILENT):
        took = await hanging(executors[: SILENT + QUICK], context, silent)
        print(f"{QUICK} traders beside {silent:>2} that hang: median {took[QUICK // 2]:.2f} s, last {took[-1]:.2f} s")
    await clients.close()


def main() -> None:
    """Start the endpoint and measure."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4 * calls + 256), most))
    spawned = multiprocessing.get_context("spawn")
    port_from, port_to = spawned.Pipe()
    server = spawned.Process(target=serve, args=(port_to,), daemon=True)
    server.start()
    try:
        asyncio.run(measure(port_from.recv(), calls))
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
