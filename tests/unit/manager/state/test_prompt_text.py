"""The text of a prompt comes back exactly, and takes less room than it has characters."""

from hypothesis import given
from hypothesis import strategies as st

from executor.contract import RenderedPrompt
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from manager.resources import resource
from manager.state.recorded import prompt_row, prompt_text
from manager.state.records import DecisionRow
from state_rows import make_row


@given(st.text(), st.text())
def test_both_texts_come_back(system: str, user: str) -> None:
    prompt = RenderedPrompt(system=system, user=user, sha256="h", template="t.md", version=3)
    decision = make_row(DecisionRow, decision_id="t1@1")
    row = prompt_row(decision, prompt)
    found = prompt_text(row)
    assert (found.system, found.user) == (system, user)
    assert (row.decision_id, row.at, row.template, row.version, row.sha256) == (
        "t1@1",
        decision.decided_at,
        "t.md",
        3,
        "h",
    )


def test_a_shipped_prompt_takes_little_more_than_half_its_length() -> None:

    prompt = PromptLibrary(resource("prompts")).render("general.md", sample_context())
    row = prompt_row(make_row(DecisionRow), prompt)
    assert len(row.body) < 0.55 * len(prompt.system + prompt.user)
    assert prompt.user[:200] not in row.body
