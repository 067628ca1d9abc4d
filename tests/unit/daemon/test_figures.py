"""What status, metrics and the final summary call dropped: only what came and was not used."""

from __future__ import annotations

from mia.domain.instruments import Instrument
from mia.settings import load_settings
from mia.venues.binance.connect import BinanceSpot, Credentials, Endpoints
from miad.figures import set_aside
from tests.unit.daemon.test_core import started


class Host:
    """Knows the time."""

    def now_ns(self) -> int:
        return 1


def test_ordinary_work_of_a_connection_is_not_called_dropped_and_an_odd_frame_is() -> None:
    definition: Instrument = started().engine.markets[0].definition
    link = load_settings().settings.link
    places, key = Endpoints("ws://127.0.0.1:1", "ws://127.0.0.1:2"), Credentials("key", b"secret")
    venue = BinanceSpot("demo", places, {"X": (0, definition)}, [], key, Host(), link)  # type: ignore[arg-type]
    venue.codec.decode(b"{odd", 1, 1)
    counted = {name: n or 1 for name, n in venue.counters().items()}  # as if everything had happened once

    found = set_aside(counted)

    assert set_aside(venue.counters()) == {"corrupt": 1}
    for ordinary in ("feed_frames", "feed_connections", "api_requests", "api_answers", "orders_sent", "fills", "reconciliations", "quotes"):
        assert ordinary in counted
        assert ordinary not in found
    assert {"off_grid", "crossed", "snapshots_refused", "events_malformed", "answers_malformed", "api_malformed"} <= found.keys()
