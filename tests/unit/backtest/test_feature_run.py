"""Columns of files: the bits of feeding the same events one by one, in pieces, over a restore, and honest nulls."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import os
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from mia.assemble import numbered
from mia.backtest import feature_merge, feature_run, feature_sources
from mia.backtest.calendars import calendar_over
from mia.backtest.feature_file import read_features, write_parquet
from mia.backtest.feature_run import Request, Run, chosen, head, in_memory, open_source, rows, table, tail
from mia.backtest.readers import bar_rows, grid_of, read_candles
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import BookDelta, BookSnapshot, Quote, Reference, Timer, Trade
from mia.domain.instruments import Instrument, InstrumentId
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import QUOTE, REFERENCE, TIMER, from_events
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.risk.windows import Family, MacroEvent, Windows
from mia.settings import load_settings

ROOT = Path(__file__).resolve().parents[3]
ALL = (*shipped_catalogue().names, "ema(20)", "close")


def candles(path: Path, n: int = 400, seed: int = 3) -> Path:
    """A wandering market of minute bars."""
    rng = np.random.default_rng(seed)
    close = np.rint(60_000.0 * np.exp(np.cumsum(rng.normal(scale=1e-3, size=n))) * 100) / 100
    opens = np.concatenate([[60_000.0], close[:-1]])
    wick = np.rint(rng.exponential(scale=20.0, size=(2, n)) * 100) / 100
    frame = pl.DataFrame(
        {
            "ts_ms": np.arange(n) * 60_000 + 1_700_000_040_000,
            "open": opens,
            "high": np.rint((np.maximum(opens, close) + wick[0]) * 100) / 100,
            "low": np.rint((np.minimum(opens, close) - wick[1]) * 100) / 100,
            "close": close,
            "volume": np.rint(rng.exponential(scale=5.0, size=n) * 1e5) / 1e5,
        }
    )
    frame.write_parquet(path)
    return path


def recording(path: Path, frames: int = 3000, seed: int = 5) -> Path:
    """Frames of Binance spot: a snapshot, quotes, diffs of the book, trades; about 90 s."""
    rng = np.random.default_rng(seed)
    t, mid, update = 1_723_161_253_937_085_768, 60_000.0, 100
    lines = []

    def price(x: float) -> str:
        return f"{x:.2f}"

    book = {"lastUpdateId": update, "bids": [[price(mid - 0.01 * k), "1.0"] for k in range(1, 40)]}
    book["asks"] = [[price(mid + 0.01 * k), "1.0"] for k in range(1, 40)]
    lines.append(f"{t} {json.dumps(book)}")
    for i in range(frames):
        t += int(rng.exponential(3e7))
        ms = t // 1_000_000
        kind = rng.random()
        mid += 0.01 * int(rng.integers(-3, 4))
        if kind < 0.4:
            sizes = [f"{x:.5f}" for x in rng.random(2) + 1e-5]
            update += 1
            quote = {"u": update, "s": "BTCUSDT", "b": price(mid - 0.01), "B": sizes[0], "a": price(mid + 0.01), "A": sizes[1]}
            lines.append(f"{t} {json.dumps({'stream': 'btcusdt@bookTicker', 'data': quote})}")
            update -= 1
            continue
        if kind < 0.7:
            changes = {
                side: [[price(mid + sign * 0.01 * int(rng.integers(1, 30))), f"{rng.random():.5f}"] for _ in range(2)]
                for side, sign in (("b", -1), ("a", 1))
            }
            lines.append(f"{t} {json.dumps({'e': 'depthUpdate', 'E': ms, 's': 'BTCUSDT', 'U': update + 1, 'u': update + 1, **changes})}")
            update += 1
        else:
            trade = {"e": "trade", "E": ms, "s": "BTCUSDT", "t": i, "p": price(mid), "q": f"{rng.exponential():.5f}", "T": ms}
            lines.append(f"{t} {json.dumps({**trade, 'm': bool(rng.random() < 0.5)})}")
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


@pytest.fixture(scope="session")
def request_() -> Request:
    return Request(instruments=tuple(numbered(load_settings(environ={}).settings)))


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return candles(tmp_path_factory.mktemp("bars") / "bars.parquet")


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(tmp_path_factory.mktemp("frames") / "binance_spot_btcusdt_ws_1.gz")


def plan_of(instrument: Instrument, spec: Any) -> tuple[Any, Book]:
    arena = Arena(64 << 20)
    book = Book(arena, 4096)
    return build_plan(ALL, instrument, spec, arena, book, neutral=math.nan), book


def without(matrix: np.ndarray, lacks: tuple[str, ...]) -> np.ndarray:
    """Columns whose inputs are not there, as holes."""
    for j, name in enumerate(ALL):
        if feature_run.lacking(name, lacks):
            matrix[:, j] = math.nan
    return matrix


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit for bit, one NaN being as good as another."""
    return a.shape == b.shape and np.array_equal(np.isnan(a), np.isnan(b)) and np.nan_to_num(a).tobytes() == np.nan_to_num(b).tobytes()


def test_candles_give_the_bits_of_bars_fed_one_by_one(bars: Path, request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_sources, "CHUNK", 37)
    source = open_source([bars], request_)
    plan, _ = plan_of(source.instrument, source.bars)
    read = read_candles([bars])
    one_by_one = []
    for ts, bar in zip(read.close_ns.tolist(), bar_rows(read, grid_of(read), 0, 400), strict=True):
        plan.on_bar(ts, np.ascontiguousarray(bar).data)
        plan.observe(ts)
        one_by_one.append(list(plan.values))

    ts, matrix = table(source, ALL)

    assert ts.tolist() == read.close_ns.tolist()
    assert same(matrix, without(np.array(one_by_one), source.lacks))
    assert np.isfinite(matrix[-1]).sum() > 40


@pytest.mark.parametrize(("at", "every_ms"), [("quote", 100), ("bar", 0), ("quote", 0)])
def test_a_recording_gives_the_bits_of_events_fed_one_by_one(
    at: Any, every_ms: int, frames: Path, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msgspec

    from mia.venues.replay.feed import ReplayFeed

    monkeypatch.setattr(feature_sources, "CHUNK", 101)
    source = open_source([frames], msgspec.structs.replace(request_, at=at, every_ms=every_ms))
    plan, book = plan_of(source.instrument, source.bars)
    feed = ReplayFeed([frames], request_.instruments)
    codec = feed.codec()
    times, one_by_one, last, timer = [], [], 0, 0
    for stamp, payload in feed.frames():
        for e in codec.decode(payload, stamp, 0):
            timer = timer or e.ts_recv_ns // 100_000_000 * 100_000_000
            due: list[Any] = []
            while timer + 100_000_000 < e.ts_recv_ns:
                timer += 100_000_000
                due.append(Timer(0, 0, timer))
            for event in (*due, e):
                closed = feed_one(plan, book, event)
                wanted = (
                    closed if at == "bar" else isinstance(event, Quote) and (not last or event.ts_recv_ns - last >= every_ms * 1_000_000)
                )
                if wanted:
                    last = event.ts_recv_ns
                    plan.observe(last)
                    times.append(last)
                    one_by_one.append(list(plan.values))

    ts, matrix = table(source, ALL)

    assert ts.tolist() == times
    assert same(matrix, without(np.array(one_by_one), source.lacks))
    assert np.isfinite(matrix[-1]).sum() > 60


def test_a_market_event_goes_before_what_becomes_known_at_the_same_time() -> None:
    second = 10**9
    start = 1_700_000_000 * second
    market = from_events(Quote(k, 0, start + k * second, InstrumentId(0), 1, 2, 1, 1) for k in range(3))
    known = from_events(Reference(k, 0, start + k * second, "vix", 20.0, start + k * second, start + 10**15) for k in range(2))

    merged = feature_merge.Merge(known).take(market)

    at = merged.ts_recv_ns == start + second
    assert merged.kind[at].tolist() == [QUOTE, TIMER, REFERENCE]


def feed_one(plan: Any, book: Book, e: Any) -> int:
    if isinstance(e, Quote):
        return int(plan.on_quote(e.ts_recv_ns, e.ts_event_ns, e.bid_ticks, e.ask_ticks, e.bid_lots, e.ask_lots))
    if isinstance(e, Trade):
        return int(plan.on_trade(e.ts_recv_ns, e.ts_event_ns, e.price_ticks, e.qty_lots, e.aggressor))
    if isinstance(e, Timer):
        return int(plan.on_time(e.ts_recv_ns))
    if isinstance(e, BookSnapshot | BookDelta):
        (book.load if isinstance(e, BookSnapshot) else book.apply)(e.bids, e.asks)
    else:
        book.invalidate()
    return int(plan.on_book(e.ts_recv_ns))


@pytest.mark.parametrize("kind", ["bars", "frames"])
def test_a_family_gives_files_the_calendar_that_live_would_have(kind: str, bars: Path, frames: Path, request_: Request) -> None:
    es = Family(time_zone="America/Chicago", sessions=["sun-thu 17:00-16:00"], valid_until="2027-01-01T00:00:00Z")
    path = bars if kind == "bars" else frames
    ts = table(open_source([path], request_), ("tod_sin",))[0]
    soon = int(ts[-1]) + 30 * 60_000_000_000
    windows = Windows({"es": es}, (MacroEvent(soon, soon, "fomc", 1.0, "x", soon),))
    columns = ("minutes_to_close", "minutes_to_event", "days_to_roll", "session_range_pos")

    plain = open_source([path], request_)
    source = open_source([path], msgspec.structs.replace(request_, family=(windows, "es")))
    with_family, without_one = table(source, columns)[1], table(plain, columns)[1]

    first, last = (datetime.fromtimestamp(int(t) / 1e9, UTC).date() for t in (ts[0], ts[-1]))
    calendar = calendar_over(windows, "es", first - timedelta(days=9), last + timedelta(days=400))
    plan = build_plan(columns, source.instrument, source.bars, Arena(1 << 24), Book(Arena(1 << 20)), calendar)
    plan.observe(int(ts[-1]))
    assert with_family[-1, :3].tolist() == list(plan.values)[:3]
    assert with_family[-1, 1] == pytest.approx(30 / 240, abs=1 / 240)
    assert np.isnan(without_one[:, 1:3]).all()
    assert (with_family[:, 0] != without_one[:, 0]).any()


@pytest.mark.parametrize("kind", ["bars", "frames"])
def test_data_from_before_the_list_of_events_is_told(kind: str, bars: Path, frames: Path, request_: Request) -> None:
    path = bars if kind == "bars" else frames
    ts = table(open_source([path], request_), ("tod_sin",))[0]
    before, after = int(ts[0]) - 86_400 * 10**9, int(ts[-1]) + 86_400 * 10**9
    es = Family(time_zone="America/Chicago", sessions=["sun-thu 17:00-16:00"], valid_until="2027-01-01T00:00:00Z")

    def told(*at_ns: int) -> list[str]:
        windows = Windows({"es": es}, tuple(MacroEvent(t, t, "fomc", 1.0, "x", t) for t in at_ns))
        source = open_source([path], msgspec.structs.replace(request_, family=(windows, "es")))
        return [note for note in source.notes if note.startswith("calendar: the list of events begins on")]

    assert len(told(after)) == 1
    assert told(before, after) == told() == []


@pytest.mark.parametrize("kind", ["bars", "frames"])
def test_a_snapshot_restored_into_a_new_run_goes_on_with_the_same_bits(
    kind: str, bars: Path, frames: Path, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_sources, "CHUNK", 61)
    source = open_source([bars if kind == "bars" else frames], request_)
    whole = table(source, ALL)

    parts = []
    run = Run(source, ALL)
    for piece in source.pieces():
        parts.append(run.take(piece))
        saved = run.arena.snapshot()
        run = Run(source, ALL)
        run.arena.restore(saved)

    assert len(parts) > 5
    assert np.concatenate([p[0] for p in parts]).tobytes() == whole[0].tobytes()
    assert np.concatenate([p[1] for p in parts]).tobytes() == whole[1].tobytes()


def test_any_size_of_pieces_gives_the_same_file(frames: Path, request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for size in (17, 500, 100_000):
        monkeypatch.setattr(feature_sources, "CHUNK", size)
        results.append(table(open_source([frames], request_), ALL))

    assert results[0][1].tobytes() == results[1][1].tobytes() == results[2][1].tobytes()


def test_the_file_holds_nulls_where_there_is_no_value_and_says_what_it_was_made_of(bars: Path, request_: Request, tmp_path: Path) -> None:
    source = open_source([bars], request_)

    done = write_parquet(source, ALL, tmp_path / "x.parquet", {"mia": "test"}, lambda _: None)

    made = pl.read_parquet(tmp_path / "x.parquet")
    _, matrix = table(source, ALL)
    facts = json.loads(pq.read_schema(tmp_path / "x.parquet").metadata[b"mia"])
    assert (made.height, made.columns) == (400, ["ts_ns", *ALL])
    assert made["rsi_14"].null_count() == 14
    assert made["ofi_score"].null_count() == made["position"].null_count() == 400
    assert same(made.drop("ts_ns").fill_null(float("nan")).to_numpy(), matrix)
    assert not made.drop("ts_ns").select(pl.all().is_nan().any()).to_numpy().any()
    assert {"ofi_score", "position"} < set(done.absent)
    assert (facts["bars"], facts["tick"], facts["catalogue_sha256"]) == ("time:1m", "0.01", shipped_catalogue().hash)
    assert facts["source"][0]["sha256"] == feature_sources.file_sha256(bars)
    assert [p.name for p in tmp_path.iterdir()] == ["x.parquet"]
    back = read_features(tmp_path / "x.parquet")
    assert back is not None
    assert same(np.concatenate([m for _, m in back.rows()]), matrix)


def test_a_kernel_that_gives_no_number_is_named_and_no_file_is_written(
    bars: Path, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(plan: Any, close_ns: Any, *a: Any, **k: Any) -> Any:
        matrix = np.zeros((len(close_ns), 2))
        matrix[3, 1] = math.nan
        return close_ns, matrix

    monkeypatch.setattr(feature_run.batch, "compute_bars", broken)

    with pytest.raises(DataError, match=r"bars.parquet: rsi_14 at 2023-11-14 22:18:00 is no finite number"):
        write_parquet(open_source([bars], request_), ("ret_1", "rsi_14"), tmp_path / "x.parquet", {}, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_half_way_leaves_the_old_one(bars: Path, request_: Request, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("old")

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_parquet(open_source([bars], request_), ("ret_1",), tmp_path / "x.parquet", {}, stop)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x.parquet", "old")]


@pytest.mark.parametrize("kind", ["bars", "frames"])
def test_interpreted_kernels_give_the_same_file(kind: str, bars: Path, frames: Path, tmp_path: Path) -> None:
    source = bars if kind == "bars" else frames
    for mode in ("interpreted", "compiled"):
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'daemon'}"} | ({"MIA_KERNELS": mode} if mode == "interpreted" else {})
        command = [sys.executable, "-m", "mia.cli.main", "features", "compute", str(source), "--out", str(tmp_path / f"{mode}.parquet")]
        subprocess.run(command, env=env, cwd=ROOT, capture_output=True, check=True, text=True)

    a, b = (pq.read_table(tmp_path / f"{mode}.parquet") for mode in ("interpreted", "compiled"))
    modes = [json.loads(t.schema.metadata[b"mia"])["versions"]["kernels"] for t in (a, b)]

    assert modes[0] == "interpreted"
    assert a.num_rows > 50
    for name in a.column_names:
        assert a[name].is_null().equals(b[name].is_null()), name
        assert [struct.pack("<d", x) for x in a[name].drop_null().to_pylist()] == [
            struct.pack("<d", x) for x in b[name].drop_null().to_pylist()
        ]


def test_references_enter_when_they_are_known(
    bars: Path, frames: Path, request_: Request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import msgspec

    for name in ("vix", "ref"):
        (tmp_path / f"{name}.csv").write_text("x")  # its digest goes into the file; what it holds is said below
    asked = msgspec.structs.replace(request_, references=(("vix", tmp_path / "vix.csv"), ("ref", tmp_path / "ref.csv")))
    times = read_candles([bars]).close_ns
    known = {"vix": (times[0] - 5, times[90], times[90] + 1), "ref": (times[0] - 9, times[60] + 3, times[90])}

    def values(name: str, path: Path) -> Any:
        return from_events([Reference(0, 0, int(t), name, 15.0, int(t), int(t) + 10**15) for t in known[name]])

    monkeypatch.setattr(feature_sources, "read_reference", values)
    monkeypatch.setattr(feature_sources, "CHUNK", 50)

    seen = [p.events.ts_recv_ns.tolist() for p in open_source([bars], asked).pieces()]

    assert seen[:3] == [[times[0] - 9, times[0] - 5], [times[60] + 3, times[90], times[90], times[90] + 1], []]
    merged = np.concatenate([p.events.ts_recv_ns for p in open_source([frames], asked).pieces()])
    assert (np.diff(merged) >= 0).all()


def test_a_reference_that_does_not_cover_the_bars_or_is_unknown_is_told(bars: Path, request_: Request, tmp_path: Path) -> None:
    import msgspec

    (tmp_path / "vix.csv").write_text("DATE,CLOSE\n2001-01-02,25.0\n2001-01-03,26.0\n")
    asked = msgspec.structs.replace(request_, references=(("vix", tmp_path / "vix.csv"),))

    notes = open_source([bars], asked).notes

    assert [n for n in notes if n.startswith("vix: the last value was good until 2001-01-") and "features are absent" in n]
    with pytest.raises(ConfigError, match="did you mean: vix"):
        open_source([bars], msgspec.structs.replace(request_, references=(("vixx", tmp_path / "vix.csv"),)))


def test_head_and_tail_are_what_the_file_would_have_been(
    bars: Path, frames: Path, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_sources, "CHUNK", 64)
    for path in (bars, frames):
        source, _ = in_memory(open_source([path], request_), 10_000)
        pieces = list(source.pieces())
        times = np.concatenate([p.events.ts_recv_ns if p.close_ns is None else p.close_ns for p in pieces])
        for start, stop in ((0, 64), (0, 65), (63, 129), (100, 101), (10, len(times))):
            cut = list(tail(head(source, stop), start, stop).pieces())
            got = [t for p in cut for t in (p.events.ts_recv_ns if p.close_ns is None else p.close_ns).tolist()]
            assert got == times[start:stop].tolist()


@pytest.mark.parametrize(
    ("columns", "category", "words"),
    [
        ("rsi_15", None, "did you mean: rsi_14"),
        ("ret_1,rsi_14,ret_1", None, "'ret_1' is named twice"),
        ("ret_1,has(depth)", None, "masks belong to models"),
        (",", None, "no name given"),
        (None, "trends", "did you mean: trend"),
        ("ret_1", "trend", "give one of them"),
    ],
)
def test_a_wrong_choice_of_columns_is_named(columns: str | None, category: str | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        chosen(columns, category)


def test_what_cannot_be_computed_is_one_clear_error(bars: Path, frames: Path, request_: Request, tmp_path: Path) -> None:
    import msgspec

    (tmp_path / "empty.gz").write_bytes(b"")
    for paths, change, words in (
        ([tmp_path / "none.csv"], {}, "no such file"),
        ([bars, frames], {}, "cannot be computed as one"),
        ([bars], {"at": "quote"}, "holds bars and no quotes"),
        ([bars], {"tick": Decimal("0.03")}, "is no multiple of the tick"),
        ([tmp_path / "empty.gz"], {}, "is empty"),
    ):
        with pytest.raises((DataError, ConfigError), match=words):
            list(rows(open_source(paths, msgspec.structs.replace(request_, **change)), ("ret_1",)))


@pytest.mark.data
def test_real_files_are_computed(market_data: Path, request_: Request) -> None:
    import msgspec

    for name, change in (
        ("binance_btcusdt_5m_2024-03_2025-07.feather", {}),
        ("es_1m_2026-06-15_22_sierra_export.csv.gz", {"tz": "America/Chicago"}),
        ("binance_spot_btcusdt_ws_20240808.gz", {}),
    ):
        source, _ = in_memory(open_source([market_data / name], msgspec.structs.replace(request_, **change)), 5_000)
        _, matrix = table(source, shipped_catalogue().names)
        assert not np.isinf(matrix).any()
        assert np.isfinite(matrix[-1]).sum() > 30, name
    assert list(itertools.islice(iter(source.pieces()), 1))
