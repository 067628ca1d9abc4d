"""How a run begins in the journal: who we are, what we trade, with which models."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mia.assemble import model_names, versions
from mia.domain.events import AnyEvent, InstrumentDefined, ModelReady, RunStarted
from mia.settings import Loaded
from miad.core import Core


def open_run(core: Core, loaded: Loaded, run: int, ts_ns: int, first: Sequence[AnyEvent] = ()) -> None:
    """RunStarted, InstrumentDefined and ModelReady at ts_ns, then what must stand before anything is decided (a kill, SAFE).

    Trading stays disabled.
    """
    engine, name = core.engine, loaded.settings.instance.name
    core.accept(RunStarted(core.seq + 1, 0, ts_ns, run, name, "paper", versions(), loaded.canonical_json(), loaded.hash()))
    for market in engine.markets:
        core.accept(InstrumentDefined(core.seq + 1, 0, ts_ns, market.index, market.definition))
    for model, sha256 in model_names(engine):
        core.accept(ModelReady(core.seq + 1, 0, ts_ns, model, sha256))
    for event in first:
        core.accept(msgspec.structs.replace(event, seq=core.seq + 1, ts_recv_ns=ts_ns))
