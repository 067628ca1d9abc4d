"""Holdouts: what a seal catches, what it lets through, that the log shows edits, and that no offline reader goes around it."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pytest

from mia.backtest.data.resample import resample
from mia.backtest.data.writing import write_candles
from mia.backtest.feature_file import read_features, write_parquet
from mia.backtest.feature_sources import Request, open_source
from mia.backtest.readers import Candles, file_sha256, read_bars, read_candles, read_for_seal
from mia.backtest.recordings import open_recording
from mia.backtest.references import read_reference
from mia.backtest.validation.seal import SealLog, seal_notes
from mia.backtest.validation.seal_match import Seal, names_in, span_reading
from mia.cli.main import main
from mia.domain.errors import ConfigError, DataError, SealedError
from mia.domain.instruments import InstrumentId
from mia.train.feature_models.forecast import read_vix
from mia.train.settings import recorded_instruments
from mia.train.tapes import recorded

ROOT: Final = Path(__file__).resolve().parents[4]
HOUR: Final = 3_600_000_000_000
DAY: Final = 24 * HOUR
START: Final = 1_700_006_400_000_000_000  # 2023-11-15 00:00 UTC
FROM, TO = START + 6 * DAY, START + 9 * DAY


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def candles_file(path: Path, *, seed: int = 1, minutes: int = 5, days: int = 10, start: int = START) -> Path:
    rng = np.random.default_rng(seed)
    n = days * 1440 // minutes
    close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0, 0.001, n))), 2)
    opens = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opens, close) + 0.01, np.minimum(opens, close) - 0.01
    ms = start // 1_000_000 + np.arange(n) * minutes * 60_000
    table = pl.DataFrame({"ts_ms": ms, "open": opens, "high": high, "low": low, "close": close, "volume": rng.integers(1, 9, n)})
    if path.suffix == ".parquet":
        table.write_parquet(path)
    else:
        table.write_csv(path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return candles_file(tmp_path / "btcusdt_5m.csv")


def seal_file(path: Path, from_ns: int = FROM, to_ns: int = TO) -> Seal:
    return SealLog().seal(from_ns, to_ns, files={file_sha256(path): path.name}, bars=read_for_seal([path]).reading)


def test_a_sealed_span_is_refused_with_its_rows_and_what_to_do(file: Path) -> None:
    made = seal_file(file)

    with pytest.raises(
        SealedError, match=rf"864 rows \(2023-11-21T00:00 to 2023-11-23T23:55\).*{made.id}.*--exclude-sealed.*mia backtest unseal"
    ):
        read_candles([file])
    with pytest.raises(SealedError):
        read_bars(file)


def test_rows_before_the_span_can_be_read_and_sealed_ones_left_out_with_their_count(file: Path) -> None:
    seal_file(file)

    before = read_candles([file], span=(0, FROM))
    around = read_candles([file], sealed="exclude")

    assert int(before.close_ns[-1]) == FROM
    assert len(around.open_ns) == 10 * 288 - 864
    assert not ((around.open_ns < TO) & (around.close_ns > FROM)).any()
    assert "864 rows left out" in around.notes[-1]
    assert around.rows[-1] == 2880  # rows keep their numbers in the file


def test_a_file_that_is_sealed_whole_has_nothing_to_leave(file: Path) -> None:
    seal_file(file, START - DAY, START + 99 * DAY)

    with pytest.raises(SealedError, match="all of it is sealed"):
        read_candles([file], sealed="exclude")


def same_bytes(file: Path) -> Path:
    return Path(shutil.copyfile(file, file.with_name("innocent.csv")))


def converted(file: Path) -> Path:
    out = file.with_name("x.parquet")
    pl.read_csv(file).write_parquet(out)
    return out


def resampled_elsewhere(file: Path) -> Path:
    """By another tool, and without a name."""
    made = resample(read_for_seal([file]), HOUR)
    out = file.with_name("y.parquet")
    columns = {name: made.ohlcv[:, k] for k, name in enumerate(("open", "high", "low", "close", "volume"))}
    pl.DataFrame({"ts_ns": made.open_ns, **columns}).write_parquet(out)
    return out


def days_elsewhere(file: Path) -> Path:
    made = resample(read_for_seal([file]), DAY)
    out = file.with_name("z.parquet")
    columns = {name: made.ohlcv[:, k] for k, name in enumerate(("open", "high", "low", "close", "volume"))}
    pl.DataFrame({"ts_ns": made.open_ns, **columns}).write_parquet(out)
    return out


def part_of_it(file: Path) -> Path:
    out = file.with_name("part.csv")
    pl.read_csv(file)[1728:2300].write_csv(out)  # from the first sealed row on
    return out


@pytest.mark.parametrize("copy", [same_bytes, converted, resampled_elsewhere, days_elsewhere, part_of_it])
def test_a_copy_under_another_name_is_caught(file: Path, copy: object) -> None:
    other = copy(file)  # type: ignore[operator]
    assert len(read_candles([other]).open_ns) > 1

    seal_file(file)

    with pytest.raises(SealedError):
        read_candles([other])


def test_what_mia_data_made_of_a_file_is_sealed_with_it_and_the_other_way_round(file: Path) -> None:
    """By what it was made of, even where no price is the same: a back-adjusted series."""
    before = read_candles([file])
    out = file.with_name("adjusted.parquet")
    write_candles(out, before.open_ns, before.ohlcv + np.array([1000.0, 1000.0, 1000.0, 1000.0, 0.0]), before.sha256)

    made = SealLog().seal(FROM, TO, files={file_sha256(out): out.name})

    for path in (file, out):
        with pytest.raises(SealedError, match=made.id):
            read_candles([path])


def test_what_is_made_of_many_files_again_and_again_names_them_once() -> None:
    sources = [f"{k:064x}" for k in range(36)]
    log = SealLog()
    for k in range(50):
        log.derived(f"{1_000 + k:064x}", "catalogue x:FOO bars_1h", sources)
        log.derived(f"{1_000 + k:064x}", "catalogue x:FOO bars_1h", sources[::-1])

    lines = log.path.read_text().splitlines()

    assert len(lines) == 51
    assert max(len(line) for line in lines[1:]) < 500
    assert {*sources, f"{1_049:064x}"} <= log.related([sources[7]])
    assert sources[0] in log.related([f"{1_000:064x}"])


def test_another_series_of_the_same_time_is_read(file: Path, tmp_path: Path) -> None:
    other = candles_file(tmp_path / "ethusdt_5m.csv", seed=2)
    seal_file(file)

    assert len(read_candles([other]).open_ns) == 2880


@pytest.mark.parametrize("name", ["btcusdt_1m.csv", "BTC_USDT-5m.csv", "binance-btcusdt-2023.parquet"])
def test_a_sealed_instrument_is_caught_in_any_file_that_names_it(tmp_path: Path, name: str) -> None:
    path = candles_file(tmp_path / name, seed=5)

    SealLog().seal(FROM, TO, instruments=["binance_spot:BTC/USDT"])

    with pytest.raises(SealedError):
        read_candles([path])
    assert len(read_candles([path], span=(TO, START + 10 * DAY)).open_ns) == 288


def test_a_symbol_column_names_the_instrument_too(tmp_path: Path) -> None:
    path = candles_file(tmp_path / "prices.csv")
    pl.read_csv(path).with_columns(pl.lit("ESH4").alias("symbol")).write_csv(path)

    SealLog().seal(FROM, TO, instruments=["ES"])

    with pytest.raises(SealedError):
        read_candles([path])


def test_names_are_words_pairs_of_words_and_roots_of_futures() -> None:
    assert {"ESH4", "ES", "BTCUSDT"} <= names_in(["ESH4_trades.csv", "btc-usdt.csv"])
    assert "ES" not in names_in(["prices_trades.csv"])


def test_features_computed_before_the_seal_are_of_the_holdout(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.parquet"
    write_parquet(open_source([file], Request()), ("rsi_14",), out, {}, lambda text: None)
    assert read_features(out) is not None

    seal_file(file)

    with pytest.raises(SealedError):
        read_features(out)
    with pytest.raises(SealedError):
        open_source([file], Request())
    assert open_source([file], Request(sealed="exclude")).size == 2880 - 864


def test_a_reference_series_is_refused_as_well(tmp_path: Path) -> None:
    path = tmp_path / "vix.csv"
    path.write_text("DATE,OPEN,HIGH,LOW,CLOSE\n2023-11-20,14,14,13,13.4\n2023-11-21,13,14,13,13.3\n")
    SealLog().seal(FROM, TO, instruments=["VIX"])

    with pytest.raises(SealedError, match="1 rows"):
        read_reference("vix", path)
    with pytest.raises(SealedError, match="1 rows"):
        read_vix(path)


def test_opening_needs_a_reason_and_is_told_in_every_later_report(file: Path) -> None:
    log = SealLog()
    made = seal_file(file)
    before = read_candles([file], span=(0, FROM))
    assert [made.id in line and "sealed" in line for line in seal_notes(before.reading)] == [True]

    for wrong in ("", "  "):
        with pytest.raises(ConfigError, match="--reason"):
            log.unseal(made.id, wrong)
    with pytest.raises(ConfigError, match="no such seal"):
        log.unseal("ffffffff", "why")
    log.unseal(made.id[:4], "final\ntest of v2")

    candles = read_candles([file])
    (line,) = seal_notes(candles.reading)
    assert "opening 1 of 1" in line
    assert "final test of v2; 864 rows of this data" in line
    (line,) = seal_notes(span_reading({file_sha256(file): "a.csv"}, FROM - DAY, FROM + 1))
    assert "what of it this data holds is out of sample no more" in line
    with pytest.raises(ConfigError, match="opened already"):
        log.unseal(made.id, "again")


def test_a_span_that_was_opened_can_be_sealed_again_and_both_are_told(file: Path) -> None:
    log = SealLog()
    log.unseal(seal_file(file).id, "first look")
    again = seal_file(file)
    with pytest.raises(SealedError):
        read_candles([file])
    log.unseal(again.id, "second look")

    lines = seal_notes(read_candles([file]).reading)

    assert ["opening 1 of 2" in lines[0], "opening 2 of 2" in lines[1]] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"from_ns": TO, "to_ns": FROM, "instruments": ["ES"]}, "is not before"),
        ({"from_ns": FROM, "to_ns": TO}, "say what is to be sealed"),
        ({"from_ns": FROM, "to_ns": TO, "instruments": ["--"]}, "give a symbol"),
    ],
)
def test_a_seal_that_would_seal_nothing_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SealLog().seal(**arguments)  # type: ignore[arg-type]


def three_records(file: Path) -> SealLog:
    log = SealLog()
    made = seal_file(file)
    log.seal(FROM, TO, instruments=["ES"])
    log.unseal(made.id, "why")
    return log


def changed(log: SealLog) -> None:
    log.path.write_bytes(log.path.read_bytes().replace(b'"why"', b'"because"'))


def line_removed(log: SealLog) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(lines[0] + lines[2])


def tail_cut(log: SealLog) -> None:
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:2]))


def log_removed(log: SealLog) -> None:
    log.path.unlink()


def head_removed(log: SealLog) -> None:
    log.path.with_suffix(".head").unlink()


def forged(log: SealLog) -> None:
    """A record changed, with its own hash made to fit."""
    lines = log.path.read_text().splitlines()
    record = json.loads(lines[0])
    record["to_ns"] = record["from_ns"] + 1
    from mia.backtest.validation.seal_file import hash_of as _hash

    record["hash"] = _hash(record)
    log.path.write_text("\n".join([json.dumps(record), *lines[1:]]) + "\n")


def garbage(log: SealLog) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(lines[0] + b"garbage\n" + lines[1][:-9] + b"\n" + lines[2])


@pytest.mark.parametrize("harm", [changed, line_removed, tail_cut, log_removed, head_removed, forged, garbage])
def test_a_log_that_was_tampered_with_is_noticed_and_no_history_is_read(file: Path, harm: object) -> None:
    log = three_records(file)
    read_candles([file])

    harm(log)  # type: ignore[operator]

    with pytest.raises(SealedError, match="not as it was written"):
        read_candles([file])


def test_a_writer_that_died_in_a_line_or_before_the_head_does_no_harm(file: Path) -> None:
    log = three_records(file)
    head = log.path.with_suffix(".head").read_bytes()
    log.seal(FROM, TO, instruments=["NQ"])
    log.path.with_suffix(".head").write_bytes(head)  # died between the two
    with log.path.open("ab") as stream:
        stream.write(b'{"kind":"sea')  # died in the middle of the next

    assert len(log.seals()) == 3
    log.seal(FROM, TO, instruments=["CL"])
    assert [seal.instruments for seal in log.seals()] == [(), ("ES",), ("NQ",), ("CL",)]


_DERIVE: Final = """
import sys
from pathlib import Path
from mia.backtest.validation.seal import SealLog
for k in range(10):
    SealLog(Path(sys.argv[1])).derived(f"{sys.argv[2]}-{k}", "x", ["source"])
"""


def test_many_processes_may_write_at_once(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "daemon")])}
    jobs = [subprocess.Popen([sys.executable, "-c", _DERIVE, str(tmp_path), str(number)], env=environment) for number in range(4)]
    while any(job.poll() is None for job in jobs):
        SealLog(tmp_path).seals()  # a reader in between sees no harm
    assert [job.wait(60) for job in jobs] == [0, 0, 0, 0]

    assert len(SealLog(tmp_path).related(["source"])) == 41


@pytest.mark.data
def test_a_recording_stops_at_the_sealed_frame_or_goes_around_it(market_data: Path) -> None:
    path = market_data / "binance_spot_btcusdt_ws_20240808.gz"
    numbered = [(InstrumentId(k), instrument) for k, instrument in enumerate(recorded_instruments())]
    whole = [ts for ts, _ in open_recording([path], numbered).frames()]
    begin, end = whole[10_000], whole[20_000]
    SealLog().seal(begin, end, instruments=["BTCUSDT"])

    with pytest.raises(SealedError, match="sealed span"):
        list(open_recording([path], numbered).frames())
    feed = open_recording([path], numbered, "exclude")
    assert [ts for ts, _ in feed.frames()] == [ts for ts in whole if not begin <= ts < end]
    assert "frames left out" in feed.warnings()[-1]
    with pytest.raises(SealedError):
        recorded(path, recorded_instruments(), ("spread_ticks",), ("rv_30",), None, 0)  # type: ignore[arg-type]


def test_only_readers_that_ask_the_seal_open_history() -> None:
    """Offline code reads files of history through these modules; whoever opens them elsewhere goes around the seal."""
    readers = {
        "mia/backtest/readers/frames.py", "mia/backtest/references.py", "mia/backtest/recordings.py", "mia/backtest/feature_file.py",
        "mia/train/feature_models/forecast.py",
        "mia/backtest/catalogue/months.py",  # behind bars.py and events.py beside it, which ask
    }  # fmt: skip
    opens = {"read_parquet", "read_csv", "read_ipc", "scan_parquet", "scan_csv", "scan_ipc", "ParquetFile", "ReplayFeed", "read_table"}
    # The first reads back a file that it wrote itself, the second what a run came to, the third looks for leaks and scores nothing, the
    # last runs other libraries on candles that a benchmark made.
    known = {
        "mia/backtest/feature_bench.py", "mia/backtest/run/artifacts.py", "mia/backtest/leaks/tables.py", "mia/cli/library_peer.py",
    }  # fmt: skip
    found = set()
    for folder in ("mia/backtest", "mia/train", "mia/cli"):
        for path in (ROOT / folder).rglob("*.py"):
            names = {
                node.attr if isinstance(node, ast.Attribute) else node.id
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, (ast.Attribute, ast.Name))
            }
            if names & opens:
                found.add(str(path.relative_to(ROOT)))

    assert found - readers - known == set()


def test_only_the_seal_verb_reads_what_is_sealed() -> None:
    users = [str(p.relative_to(ROOT / "mia")) for p in (ROOT / "mia").rglob("*.py") if "read_for_seal" in p.read_text(encoding="utf-8")]

    assert sorted(users) == ["backtest/readers/__init__.py", "backtest/readers/candles.py", "cli/backtest/seal.py"]


def test_the_verbs_seal_refuse_with_six_open_and_list(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ("--from", "2023-11-21", "--to", "2023-11-24")
    assert main(["backtest", "seal", *span, "--data", str(file), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["seal"]

    assert main(["data", "report", str(file)]) == 6
    assert "sealed span" in capsys.readouterr().err
    assert main(["features", "compute", str(file), "--columns", "rsi_14", "--out", str(tmp_path / "o.parquet")]) == 6
    assert main(["data", "report", str(file), "--exclude-sealed"]) == 0
    assert main(["backtest", "unseal", made["id"], "--reason", "a test"]) == 0
    assert main(["data", "report", str(file)]) == 0
    capsys.readouterr()
    assert main(["backtest", "seals", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["reason"], listed["files"]) == ("a test", {file_sha256(file): file.name})
    assert main(["backtest", "seal", "--from", "2030-01-01", "--to", "2031-01-01", "--data", str(file)]) == 1  # no row there
    assert main(["backtest", "seal", "--from", "yesterday", "--to", "2031-01-01", "--data", str(file)]) == 2


def test_candles_carry_what_the_seal_knows_them_by(file: Path) -> None:
    candles: Candles = read_candles([file])

    assert "BTCUSDT" in candles.names
    assert candles.sha256 == (file_sha256(file),)
    with pytest.raises(DataError, match="no bar lies in"):
        read_candles([file], span=(0, 1))
