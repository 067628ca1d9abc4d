"""Files with a second instrument that live hears beside the first: candles, and symbols of one recording."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mia.backtest.feature_run import Request, open_source, table
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import Trade
from mia.domain.instruments import Instrument, InstrumentId
from mia.features.bars import BarSpec
from mia.venues.replay.feed import ReplayFeed
from tests.unit.backtest.test_feature_run import candles

COLUMNS = ("ref_corr_60", "ref_lead_1", "ref_ret_z_60")
START_NS = 1_723_161_253_937_000_000


def instrument(symbol: str, tick: str) -> Instrument:
    return Instrument(
        venue="binance_spot", symbol=symbol, kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal(tick),
        lot_size=Decimal("0.00001"), maker_fee=Decimal(0), taker_fee=Decimal(0),
    )  # fmt: skip


TWO = ((InstrumentId(0), instrument("BTCUSDT", "0.01")), (InstrumentId(1), instrument("ETHUSDT", "0.01")))


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """Trades of two coins in one recording, 100 s."""
    rng = np.random.default_rng(8)
    t, prices, lines = START_NS, {"BTCUSDT": 60_000.0, "ETHUSDT": 2_500.0}, []
    for number in range(900):
        t += int(rng.exponential(1.1e8))
        symbol = ("BTCUSDT", "ETHUSDT")[int(rng.integers(2))]
        prices[symbol] += 0.01 * int(rng.integers(-40, 41))
        data = {
            "e": "trade",
            "E": t // 10**6,
            "s": symbol,
            "t": number,
            "p": f"{prices[symbol]:.2f}",
            "q": "0.01000",
            "T": t // 10**6,
            "m": True,
            "M": True,
        }
        lines.append(f"{t} {json.dumps({'stream': f'{symbol.lower()}@trade', 'data': data})}")
    lines.insert(
        0,
        f"{START_NS} "
        + json.dumps({"stream": "btcusdt@bookTicker", "data": {"u": 1, "s": "BTCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"}}),
    )
    path = tmp_path / "binance_spot_btcusdt_ws_x.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_candles_of_the_second_instrument_are_known_at_the_bar_that_ends_with_them(tmp_path: Path) -> None:
    own, other = candles(tmp_path / "own.parquet", seed=3), candles(tmp_path / "other.parquet", seed=4)

    ts, matrix = table(open_source([own], Request(seconds=(("ref", str(other)),))), COLUMNS)

    r, x = (np.diff(np.log(pl.read_parquet(path)["close"].to_numpy())) for path in (own, other))
    at = len(ts) - 1
    assert matrix[at, 0] == pytest.approx(np.corrcoef(r[-60:], x[-60:])[0, 1], abs=1e-9)
    assert matrix[at, 1] == pytest.approx(np.corrcoef(r[-60:], x[-61:-1])[0, 1], abs=1e-9)
    assert matrix[at, 2] == pytest.approx(x[-1] / x[-60:].std(), abs=1e-9)


def test_a_published_series_is_a_bar_later_than_an_instrument_that_is_heard(tmp_path: Path) -> None:
    own, other = candles(tmp_path / "own.parquet", seed=3), candles(tmp_path / "other.parquet", seed=4)

    _, heard = table(open_source([own], Request(seconds=(("ref", str(other)),))), COLUMNS)
    _, published = table(open_source([own], Request(references=(("ref", other),))), COLUMNS)

    assert published[-1, 0] == pytest.approx(heard[-1, 1], abs=1e-12)


def test_a_symbol_of_the_recording_counts_from_its_trades_on(both: Path) -> None:
    request = Request(seconds=(("ref", "ETHUSDT"),), instruments=TWO, bars=BarSpec.parse("time:1s"))

    ts, matrix = table(open_source([both], request), COLUMNS)

    feed = ReplayFeed([both], TWO)
    codec = feed.codec()
    events = [e for t, payload in feed.frames() for e in codec.decode(payload, t, 0) if isinstance(e, Trade)]
    end = int(ts[-1]) // 10**9 * 10**9  # of the last bar that closed
    closes = [
        np.array([[e.price_ticks for e in events if e.instrument == i and e.ts_recv_ns < end - k * 10**9][-1] for k in range(61)][::-1])
        for i in (0, 1)
    ]
    r, x = (np.diff(np.log(close)) for close in closes)
    assert matrix[-1, 0] == pytest.approx(np.corrcoef(r, x)[0, 1], abs=1e-9)
    assert matrix[-1, 2] == pytest.approx(x[-1] / x.std(), abs=1e-9)


@pytest.mark.parametrize(
    ("seconds", "error", "wrong"),
    [
        ((), DataError, "name the others, as --second ref=SYMBOL"),
        ((("ref", "XRPUSDT"),), ConfigError, "holds BTCUSDT, ETHUSDT"),
        ((("vix", "ETHUSDT"),), ConfigError, "--second vix=ETHUSDT: is no price of an instrument"),
        ((("ref", "ETHUSDT"), ("ref2", "BTCUSDT")), DataError, "compute one instrument at a time"),
    ],
)
def test_a_second_instrument_that_is_not_there_is_refused(
    both: Path, seconds: tuple[tuple[str, str], ...], error: type[Exception], wrong: str
) -> None:
    with pytest.raises(error, match=wrong):
        open_source([both], Request(seconds=seconds, instruments=TWO))
