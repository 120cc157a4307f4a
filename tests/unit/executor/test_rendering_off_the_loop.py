"""A template that works for long holds neither the event loop nor, with all its cuts, a thread for long."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from executor.contract import Outcome
from executor.errors import PromptError
from executor.executor import LLMExecutor
from executor.prompts.bounds import PROMPT_STEPS, STEPS
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context

_LONG = "{% for a in range(20000) %}{{ now.strftime('%Y-%m-%d %H') }}{% endfor %}"
_HEADER = "---\nversion: 1\ndescription: x\n---\n"
_TEXT = _HEADER + "{% block system %}s" + _LONG + "{% endblock %}{% block user %}u{% endblock %}"


class _Silent:
    name = "none"

    async def complete(self, *given: Any) -> Any:
        raise RuntimeError("nobody answers")


async def test_the_loop_goes_on_while_a_template_is_rendered() -> None:
    loop, heard, here = asyncio.get_running_loop(), threading.Event(), threading.get_ident()

    class Slow(PromptLibrary):
        def render(self, *given: Any, **named: Any) -> Any:
            assert threading.get_ident() != here
            loop.call_soon_threadsafe(heard.set)
            assert heard.wait(60)
            return super().render(*given, **named)

    prompts = Slow(Path(__file__).parents[3] / "prompts")
    silent: Any = _Silent()
    executor = LLMExecutor(
        models=[silent], prompts=prompts, template="general.md", timeout_s=120, monotonic=lambda: 0.0
    )
    decision = await executor.decide(sample_context())
    assert heard.is_set()
    assert decision.prompt is not None, decision.errors
    assert decision.outcome is Outcome.UNAVAILABLE


def test_all_cuts_of_a_prompt_share_one_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.md").write_text(_TEXT)
    rendered = []
    count = PromptLibrary._static_tokens

    def counted(self: PromptLibrary, template: str, system: str) -> int:
        rendered.append(template)
        return count(self, template, system)

    monkeypatch.setattr(PromptLibrary, "_static_tokens", counted)
    with pytest.raises(PromptError, match=f"more than {STEPS:,} steps, or {PROMPT_STEPS:,} with all its cuts"):
        PromptLibrary(tmp_path).check("long.md")
    assert 1 <= len(rendered) <= 4
