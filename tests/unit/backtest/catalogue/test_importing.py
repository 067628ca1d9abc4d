"""What goes into the catalogue comes out of it, once; what contradicts it stays out; a killed import leaves whole files."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from mia.backtest.catalogue.importing import How, import_files
from mia.backtest.catalogue.layout import Asset, root
from mia.backtest.catalogue.listing import entries
from mia.backtest.catalogue.months import described, read_meta, read_rows
from mia.backtest.catalogue.rows import events_of
from mia.backtest.readers import read_candles
from mia.backtest.recordings import open_recording
from mia.backtest.validation.seal import SealLog
from mia.domain.errors import ConfigError, DataError, SealedError
from mia.domain.instruments import Instrument, InstrumentId
from mia.features.bars import BarSpec

Make = Callable[..., Any]
Named = Callable[[str], Instrument]
SPOT = Asset("binance_spot", "BTCUSDT")
PERP = Asset("binance_usdm", "BTCUSDT")
MONTH_NS = 1_709_251_200_000_000_000  # 2024-03-01 00:00 UTC


def state() -> dict[str, str]:
    """Every file of the catalogue by its place, with its digest."""
    return {str(p.relative_to(root())): hashlib.sha256(p.read_bytes()).hexdigest() for p in root().rglob("*.parquet")}


def test_bars_come_back_as_the_file_gave_them_a_month_a_file(candles: Make, instrument: Named) -> None:
    path = candles()

    done = import_files([path], instrument(PERP.text), How())
    stored = pl.concat([read_rows(PERP.month_file("bars_5m", month)) for month in ("2024-02", "2024-03")])

    source = read_candles([path])
    assert [(m.kind, m.month, m.added) for m in done.months] == [("bars_5m", "2024-02", 576), ("bars_5m", "2024-03", 1424)]
    assert stored["ts_ns"].to_list() == source.open_ns.tolist()
    assert stored.select("open", "high", "low", "close", "volume").to_numpy().tolist() == source.ohlcv.tolist()
    assert stored["trades"].to_list() == source.trades.tolist()  # type: ignore[union-attr]
    assert stored["quote_volume"].to_list() == source.notional.tolist()  # type: ignore[union-attr]


def test_bars_that_end_at_irregular_times_come_back_by_their_ends(tmp_path: Path, instrument: Named) -> None:
    path = tmp_path / "ticks.csv"
    ends = [f"2024-02-29 23:{50 + k}:07,100.0,101.0,99.0,{99.5 + k / 10},5" for k in range(10)] + ["2024-03-01 00:03:00,100,101,99,100,5"]
    path.write_text("date_time,open,high,low,close,volume\n" + "\n".join(ends) + "\n")

    import_files([path], instrument(PERP.text), How(bars=BarSpec.parse("tick:50"), tz="UTC"))

    assert PERP.months("bars_tick_50") == ["2024-02", "2024-03"]
    assert read_rows(PERP.month_file("bars_tick_50", "2024-03"))["close_ns"].to_list() == [MONTH_NS + 180_000_000_000]


def test_events_come_back_exactly_and_in_their_order(recording: Make, instrument: Named) -> None:
    path = recording()

    import_files([path], instrument(SPOT.text), How())
    stored = []
    for kind in ("trades", "quotes", "depth"):
        frame = read_rows(SPOT.month_file(kind, "2024-02"))
        keys = zip(frame["ts_recv_ns"].to_list(), frame["n"].to_list(), strict=True)
        stored += list(zip(keys, events_of(kind, frame, 0), strict=True))

    feed = open_recording([path], [(InstrumentId(0), instrument(SPOT.text))])
    codec = feed.codec()
    decoded = [event for ts, payload in feed.frames() for event in codec.decode(payload, ts, 0)]
    times = [event.ts_recv_ns for event in decoded]
    assert len(times) - len(set(times)) > 500  # many at one time
    assert [event for _, event in sorted(stored, key=lambda row: row[0])] == [
        event.__class__(0, *[getattr(event, f) for f in event.__struct_fields__[1:]]) for event in decoded
    ]


def test_a_recording_over_a_months_end_is_two_files(recording: Make, instrument: Named) -> None:
    import_files([recording(start_ns=MONTH_NS - 20_000_000_000)], instrument(SPOT.text), How(kinds=("trades",)))

    first, second = (read_rows(SPOT.month_file("trades", month))["ts_recv_ns"] for month in ("2024-02", "2024-03"))
    assert first[-1] < MONTH_NS <= second[0]
    assert SPOT.kinds() == ["trades"]


def test_funding_comes_back(tmp_path: Path, instrument: Named) -> None:
    path = tmp_path / "funding.csv"
    rates = [0.0001, -0.000123456789, 1e-17]
    path.write_text("ts_ns,rate\n" + "".join(f"{MONTH_NS + k * 8 * 3_600_000_000_000},{r!r}\n" for k, r in enumerate(rates)))

    import_files([path], instrument(PERP.text), How())

    assert read_rows(PERP.month_file("funding", "2024-03"))["rate"].to_list() == rates
    with pytest.raises(ConfigError, match="only perpetuals have funding"):
        import_files([path], instrument(SPOT.text), How())


def test_the_same_again_changes_nothing_and_says_so(candles: Make, recording: Make, instrument: Named) -> None:
    files = [(candles(), PERP.text), (recording(), SPOT.text)]
    for path, name in files:
        assert import_files([path], instrument(name), How()).is_new
    before = state()

    again = [import_files([path], instrument(name), How()) for path, name in files]

    assert not any(done.is_new for done in again)
    assert [m.added for done in again for m in done.months] == [0] * 5
    assert state() == before


def test_files_that_overlap_are_merged_once(candles: Make, instrument: Named) -> None:
    early, late, whole = candles("a.parquet", bars=1200), candles("b.parquet", bars=1200, skip=800), candles("c.parquet")
    import_files([late], instrument(PERP.text), How())
    done = import_files([early], instrument(PERP.text), How())

    rows = pl.concat([read_rows(PERP.month_file("bars_5m", month)) for month in ("2024-02", "2024-03")])

    assert sum(m.added for m in done.months) == 800
    assert rows.select("ts_ns", "open", "close").equals(pl.read_parquet(whole).select("ts_ns", "open", "close"))
    assert {name for meta in map(read_meta, root().rglob("*.parquet")) for name in meta.files().values()} == {"a.parquet", "b.parquet"}


def test_what_a_source_did_not_know_is_filled_in_by_one_that_does(candles: Make, instrument: Named, tmp_path: Path) -> None:
    whole = candles()
    pl.read_parquet(whole).drop("trades", "quote_volume").write_parquet(tmp_path / "thin.parquet")
    import_files([tmp_path / "thin.parquet"], instrument(PERP.text), How())

    done = import_files([whole], instrument(PERP.text), How())

    assert done.is_new
    assert [m.added for m in done.months] == [0, 0]
    assert read_rows(PERP.month_file("bars_5m", "2024-02"))["trades"].to_list() == pl.read_parquet(whole)["trades"].to_list()[:576]


def test_bars_that_contradict_are_refused_by_row_and_month_and_change_nothing(candles: Make, instrument: Named, tmp_path: Path) -> None:
    path = candles()
    import_files([path], instrument(PERP.text), How())
    before = state()
    frame = pl.read_parquet(path).with_row_index()
    wrong = frame.with_columns(volume=pl.when(pl.col("index") == 700).then(7.5).otherwise("volume"), quote_volume=None, trades=None)
    wrong.drop("index", "quote_volume", "trades").write_parquet(tmp_path / "wrong.parquet")

    with pytest.raises(
        DataError, match=r"wrong.parquet: row 701 \(2024-03-01 10:20:00\) contradicts bars_5m 2024-03 in volume: 7.5, stored is"
    ):
        import_files([tmp_path / "wrong.parquet"], instrument(PERP.text), How())

    assert state() == before


def test_two_recordings_of_one_time_are_not_merged(recording: Make, instrument: Named) -> None:
    import_files([recording()], instrument(SPOT.text), How())
    before = state()

    with pytest.raises(DataError, match=r"ws_2.gz: row \d+ .* (contradicts|is not in) .* 2024-02"):
        import_files([recording("binance_spot_btcusdt_ws_2.gz", start_ns=1_709_078_400_000_500_000)], instrument(SPOT.text), How())

    assert state() == before


def test_bars_between_other_bars_are_refused(candles: Make, instrument: Named, tmp_path: Path) -> None:
    import_files([candles()], instrument(PERP.text), How())
    shifted = pl.read_parquet(candles()).with_columns(pl.col("ts_ns") + 60_000_000_000)
    shifted.write_parquet(tmp_path / "shifted.parquet")

    with pytest.raises(DataError, match=r"shifted.parquet: row 1 \(2024-02-28 00:01:00\) begins within another bar of bars_5m 2024-02"):
        import_files([tmp_path / "shifted.parquet"], instrument(PERP.text), How())


def hours(path: Path, first_ns: int) -> Path:
    """Ten bars of an hour."""
    frame = pl.DataFrame({"ts_ns": first_ns + np.arange(10) * 3_600_000_000_000})
    frame.with_columns(open=100.0, high=101.0, low=99.0, close=100.0, volume=1.0).write_parquet(path)
    return path


@pytest.mark.parametrize("is_earlier_first", [True, False])
def test_bars_that_overlap_over_a_months_end_are_refused(instrument: Named, tmp_path: Path, is_earlier_first: bool) -> None:
    earlier = hours(tmp_path / "earlier.parquet", MONTH_NS - 10 * 3_600_000_000_000 + 1_800_000_000_000)  # the last from 23:30 to 00:30
    later = hours(tmp_path / "later.parquet", MONTH_NS)
    first, second = (earlier, later) if is_earlier_first else (later, earlier)
    import_files([first], instrument(PERP.text), How())

    with pytest.raises(DataError, match=r"within another bar of bars_1h .*: 2024-02-29 23:30:00 and 2024-03-01 00:00:00 lie closer"):
        import_files([second], instrument(PERP.text), How())


def test_the_same_bars_of_another_definition_are_stored_with_it(candles: Make, instrument: Named) -> None:
    import_files([candles()], instrument(PERP.text), How())
    dearer = msgspec.structs.replace(instrument(PERP.text), taker_fee=Decimal("0.002"))

    changed = import_files([candles()], dearer, How())
    again = import_files([candles()], dearer, How())

    assert (changed.is_new, sum(month.added for month in changed.months), again.is_new) == (True, 0, False)
    told = [read_meta(PERP.month_file("bars_5m", month)) for month in PERP.months("bars_5m")]
    assert {meta.instrument.taker_fee for meta in told} == {Decimal("0.002")}
    assert {len(meta.sources) for meta in told} == {1}


@pytest.mark.parametrize(
    ("kinds", "error"),
    [(("trades",), "the files hold bars"), (("depth", "bars"), "the files hold bars"), (("funding",), "columns must be")],
)
def test_a_kind_that_the_files_do_not_hold_is_refused(candles: Make, instrument: Named, kinds: tuple[str, ...], error: str) -> None:
    with pytest.raises((ConfigError, DataError), match=error):
        import_files([candles("x.csv")], instrument(PERP.text), How(kinds=kinds))


def test_a_price_between_two_ticks_and_a_missing_file_are_refused(candles: Make, instrument: Named, tmp_path: Path) -> None:
    pl.read_parquet(candles()).with_columns(pl.col("high") + 0.03).write_parquet(tmp_path / "off.parquet")

    with pytest.raises(DataError, match=r"row 1 .* is no multiple of the tick 0.10"):
        import_files([tmp_path / "off.parquet"], instrument(PERP.text), How())
    with pytest.raises(DataError, match="no such file"):
        import_files([tmp_path / "absent.parquet"], instrument(PERP.text), How())
    assert not state()


def test_sealed_rows_are_not_imported(candles: Make, recording: Make, instrument: Named) -> None:
    SealLog().seal(MONTH_NS, MONTH_NS + 86_400_000_000_000, instruments=["BTCUSDT"])

    with pytest.raises(SealedError):
        import_files([candles()], instrument(PERP.text), How())
    with pytest.raises(SealedError):
        import_files([recording(start_ns=MONTH_NS - 10_000_000_000)], instrument(SPOT.text), How())
    assert not state()
    import_files([candles()], instrument(PERP.text), How(sealed="exclude"))

    times = read_rows(PERP.month_file("bars_5m", "2024-03"))["ts_ns"].to_numpy()
    assert not ((times >= MONTH_NS) & (times < MONTH_NS + 86_400_000_000_000)).any()


def test_sealed_funding_is_not_imported(tmp_path: Path, instrument: Named) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("ts_ns,rate\n" + "".join(f"{MONTH_NS + k * 28_800_000_000_000},{k / 1000}\n" for k in range(9)))
    SealLog().seal(MONTH_NS + 86_400_000_000_000, MONTH_NS + 2 * 86_400_000_000_000, instruments=["BTCUSDT"])

    with pytest.raises(SealedError, match=r"rates\.csv: 3 rows"):
        import_files([path], instrument(PERP.text), How())
    assert not state()
    done = import_files([path], instrument(PERP.text), How(sealed="exclude"))

    assert read_rows(PERP.month_file("funding", "2024-03"))["rate"].to_list() == [0.0, 0.001, 0.002, 0.006, 0.007, 0.008]
    assert "3 rows left out" in done.notes[0]


def test_the_list_tells_spans_rows_gaps_and_sources(candles: Make, instrument: Named, tmp_path: Path) -> None:
    frame = pl.read_parquet(candles())
    frame.filter(~pl.int_range(pl.len()).is_between(100, 109) & ~pl.int_range(pl.len()).is_between(560, 600)).write_parquet(
        tmp_path / "h.parquet"
    )
    import_files([tmp_path / "h.parquet"], instrument(PERP.text), How())

    (entry,) = entries()

    assert (entry.instrument, entry.kind, entry.rows, entry.months) == (PERP.text, "bars_5m", 2000 - 10 - 41, 2)
    assert entry.gaps == 2  # one within a month, one over its end
    assert (entry.first_ns, entry.last_ns) == (frame["ts_ns"][0], frame["ts_ns"][-1])
    assert entry.sources == ("h.parquet",)
    assert entry.bytes == sum(p.stat().st_size for p in root().rglob("*.parquet"))


def test_what_is_no_file_of_ours_is_named(candles: Make, instrument: Named) -> None:
    import_files([candles()], instrument(PERP.text), How())
    path = PERP.month_file("bars_5m", "2024-03")
    pl.DataFrame({"ts_ns": [1]}).write_parquet(path)
    with pytest.raises(DataError, match=r"2024-03.parquet: was not written by"):
        entries()

    path.write_bytes(b"PAR1 not at all")

    with pytest.raises(DataError, match=r"2024-03.parquet: cannot be read .* import it again"):
        entries()


KILLED = """
import os, signal, sys
from pathlib import Path
from mia.backtest.catalogue.importing import How, import_files
from mia.settings import load_settings
from mia.shipped import config_file
at, real = int(sys.argv[1]), os.fsync
def fsync(fd):
    global at
    at -= 1
    if at == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(fd)
os.fsync = fsync
known = load_settings(config_file("miad.toml"), environ={}).settings.instruments
import_files([Path(sys.argv[2])], next(i for i in known if i.venue == "binance_spot"), How())
"""


@pytest.mark.parametrize("at", [1, 3, 5, 9])
def test_a_killed_import_leaves_whole_files_and_is_finished_by_the_next(at: int, recording: Make, instrument: Named) -> None:
    path = recording(start_ns=MONTH_NS - 20_000_000_000)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(at), str(path)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    left = state()

    for place in left:
        meta, rows = read_meta(root() / place), read_rows(root() / place)
        assert described(meta.kind, meta.instrument, rows, meta.sources) == meta  # its digest, too
    import_files([path], instrument(SPOT.text), How())

    assert not [p for p in root().rglob("*") if p.name.endswith(".partial")]
    assert len(state()) == 6
    assert left.items() <= state().items()
    assert not import_files([path], instrument(SPOT.text), How()).is_new


def test_a_bar_of_a_float_price_snaps_to_the_tick_that_its_file_gives(candles: Make, instrument: Named) -> None:
    path = candles()
    import_files([path], instrument(PERP.text), How())

    stored = read_rows(PERP.month_file("bars_5m", "2024-02"))["close"].to_numpy()

    assert np.rint(stored / 0.1).astype(int).tolist() == [round(c * 10) for c in pl.read_parquet(path)["close"].to_list()[:576]]
