"""The text of a prompt as it is stored: compressed, and read back exactly."""

import base64
import json
import zlib
from dataclasses import dataclass

from executor.contract import RenderedPrompt
from manager.state.records import DecisionRow, PromptRow


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptText:
    """Hold both texts of a stored prompt."""

    system: str
    user: str


def prompt_row(decision: DecisionRow, prompt: RenderedPrompt) -> PromptRow:
    """Return the row that keeps the prompt of a decision."""
    return PromptRow(
        tenant_id=decision.tenant_id,
        decision_id=decision.decision_id,
        account_id=decision.account_id,
        trader_id=decision.trader_id,
        at=decision.decided_at,
        template=prompt.template,
        version=prompt.version,
        sha256=prompt.sha256,
        body=base64.b64encode(zlib.compress(json.dumps([prompt.system, prompt.user]).encode())).decode(),
    )


def prompt_text(row: PromptRow) -> PromptText:
    """Return the texts that `row` keeps."""
    system, user = json.loads(zlib.decompress(base64.b64decode(row.body)))
    return PromptText(system=system, user=user)
