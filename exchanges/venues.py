"""Which venues and markets there are."""

from exchanges.paper.adapter import open_paper
from exchanges.paper.config import PaperConfig
from exchanges.paper.ledger import PaperLedger
from exchanges.registry import MarketKind, Registry, VenueKind
from exchanges.replay.config import ReplayConfig
from exchanges.replay.feed import open_replay
from exchanges.synthetic.config import SyntheticConfig
from exchanges.synthetic.feed import open_synthetic


def default_registry(ledger: PaperLedger) -> Registry:
    """Return the types that need no credentials; the accounts of paper venues live in `ledger`."""
    return Registry(
        venues={"paper": VenueKind(PaperConfig, lambda request: open_paper(request, ledger))},
        markets={
            "synthetic": MarketKind(SyntheticConfig, open_synthetic),
            "replay": MarketKind(ReplayConfig, open_replay),
        },
    )
