"""`mia data import`, `mia data catalogue`, and backtests of `--assets` and `--timeframes`, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from mia.cli.backtest.options import words
from mia.cli.shared_options import SpacedCommand

Mia = Callable[..., Any]
UNKNOWN = ("--tick", "0.1", "--lot", "0.001", "--fee", "0.0004")
RUN = (
    "backtest",
    "run",
    "--strategy",
    "sma_cross",
    "--param",
    "fast_period=2",
    "--param",
    "slow_period=5",
    "--samples",
    "0",
    "--no-report",
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def candles(path: Path, first: float) -> Path:
    rows = ["date,open,high,low,close,volume"]
    for k in range(480):
        price = first + 5 * ((k // 60) % 2) + 0.1 * (k % 60)
        time = f"2024-03-{1 + k // 48:02d}T{k % 48 // 2:02d}:{k % 2 * 30:02d}:00Z"
        rows.append(f"{time},{price:.1f},{price + 1:.1f},{price - 1:.1f},{price + 0.5:.1f},50")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def two(mia: Mia, tmp_path: Path) -> None:
    """BTCUSDT, which the settings know, and ETHUSDT, which they do not."""
    assert mia("data", "import", candles(tmp_path / "b.csv", 100), "--instrument", "binance_usdm:BTCUSDT").code == 0
    assert mia("data", "import", candles(tmp_path / "e.csv", 50), "--instrument", "binance_usdm:ETHUSDT", *UNKNOWN).code == 0


@pytest.mark.parametrize(
    "typed",
    [
        ("--assets", "binance_usdm:BTCUSDT", "binance_usdm:ETHUSDT", "--timeframes", "1h", "4h", "1d"),
        ("--assets", "binance_usdm:BTCUSDT,binance_usdm:ETHUSDT", "--timeframe", "1h,4h,1d"),
        ("--timeframe=1h", "--timeframes", "4h", "1d", "--assets=binance_usdm:BTCUSDT", "--assets", "binance_usdm:ETHUSDT"),
    ],
)
def test_assets_and_timeframes_are_taken_as_typed(mia: Mia, two: None, typed: tuple[str, ...]) -> None:
    done = mia(*RUN, *typed, "--json")

    assert done.code == 0, done.err
    runs = json.loads(done.out)
    assert [[lane["bars"] for lane in run["lanes"]] for run in runs] == [["time:1h"] * 2, ["time:4h"] * 2, ["time:1d"] * 2]
    assert [i["symbol"] for i in runs[0]["instruments"]] == ["BTCUSDT", "ETHUSDT"]
    assert runs[0]["data"][0]["files"] == ["catalogue binance_usdm:BTCUSDT bars_30m"]


def test_a_verb_that_runs_once_takes_one_timeframe(mia: Mia, two: None) -> None:
    done = mia("backtest", "grid", "--strategy", "sma_cross", "--assets", "binance_usdm:BTCUSDT", "--timeframes", "1h", "4h")
    assert done.code == 2
    assert "--timeframes 1h 4h: only `mia backtest run` takes several" in done.err

    done = mia("backtest", "grid", "--strategy", "sma_cross", "--param", "fast_period=2,3", "--assets", "binance_usdm:BTCUSDT",
               "--timeframes", "1h", "--json", "--jobs", "1")  # fmt: skip

    assert done.code == 0, done.err
    assert json.loads(done.out)["configurations"] == 2


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        (("--assets", "binance_usdm:XRPUSDT"), 4, "is not in the catalogue, which holds binance_usdm:BTCUSDT, binance_usdm:ETHUSDT"),
        (("--assets", "BTCUSDT"), 4, "write VENUE:SYMBOL"),
        (("--assets",), 2, "requires an argument"),
        (("--assets", "binance_usdm:BTCUSDT", "--data", "x.csv"), 4, "give one of them"),
        (
            ("--assets", "binance_usdm:BTCUSDT", "--timeframes", "7m"),
            4,
            "no bars that make time:7m in the catalogue; stored: bars_30m 2024-03",
        ),
        (("--assets", "binance_usdm:BTCUSDT", "--read", "depth"), 4, "no depth in the catalogue"),
        (("--assets", "binance_usdm:BTCUSDT", "--read", "ticks"), 2, "'ticks' is not one of"),
        (("--assets", "binance_usdm:BTCUSDT", "--from", "2025-01-01"), 1, "no bar between 2025-01-01"),
    ],
)
def test_a_wrong_asset_is_named(mia: Mia, two: None, typed: tuple[str, ...], code: int, message: str) -> None:
    done = mia(*RUN, *typed)

    assert done.code == code
    assert message in done.err


def test_an_import_says_what_it_did_and_again_that_it_did_nothing(mia: Mia, tmp_path: Path) -> None:
    file = candles(tmp_path / "b.csv", 100)

    first = mia("data", "import", file, "--instrument", "binance_usdm:BTCUSDT")
    again = mia("data", "import", file, "--instrument", "binance_usdm:BTCUSDT")
    told = json.loads(mia("data", "import", file, "--instrument", "binance_usdm:BTCUSDT", "--json").out)
    listed = mia("data", "catalogue")
    entries = json.loads(mia("data", "catalogue", "--json").out)["entries"]

    assert first.out.split("\n")[1].split() == ["bars_30m", "2024-03", "480", "480"]
    assert "nothing to add: all of it is in the catalogue" in again.out
    assert (told["is_new"], told["months"][0]["added"]) == (False, 0)
    assert "binance_usdm:BTCUSDT  bars_30m  2024-03-01 00:00:00  2024-03-10 23:30:00   480     0" in listed.out
    assert [(e["rows"], e["gaps"], e["missing"], e["sources"]) for e in entries] == [(480, 0, [], ["b.csv"])]


def test_an_empty_catalogue_says_how_to_fill_it(mia: Mia) -> None:
    assert "nothing there: mia data import FILE" in mia("data", "catalogue").err
    assert json.loads(mia("data", "catalogue", "--json").out)["entries"] == []


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        (("--instrument", "binance_usdm:ETHUSDT"), 4, "state its --tick, --lot and --fee"),
        (("--instrument", "ETHUSDT"), 4, "write VENUE:SYMBOL"),
        (("--instrument", "binance_usdm:BTCUSDT", "--kind", "depth"), 4, "--kind depth: the files hold bars"),
        (("--instrument", "binance_usdm:BTCUSDT", "--timeframe", "1h"), 4, "holds time:30m bars, not the time:1h that was asked for"),
        (("--instrument", "binance_usdm:ETHUSDT", *UNKNOWN, "--tick", "7"), 1, "is no multiple of the tick 7"),
        (("--instrument", "binance_usdm:BTCUSDT", "--tick", "7"), 4, "[[instruments]] has tick_size 0.10, not 7"),
        (("--instrument", "binance_usdm:BTCUSDT", "--contract", "spot"), 4, "[[instruments]] has kind perpetual, not spot"),
    ],
)
def test_an_import_that_does_not_fit_is_refused(mia: Mia, tmp_path: Path, typed: tuple[str, ...], code: int, message: str) -> None:
    done = mia("data", "import", candles(tmp_path / "b.csv", 100), *typed)

    assert done.code == code
    assert message in done.err


def test_an_instrument_is_kept_as_others_of_its_venue_are_and_says_so(mia: Mia, tmp_path: Path) -> None:
    file = candles(tmp_path / "b.csv", 100)

    done = mia("data", "import", file, "--instrument", "binance_spot:ETHUSDT", *UNKNOWN)

    assert "binance_spot:ETHUSDT: spot, tick 0.1, lot 0.001, fees 0.0004 and 0.0004 of notional" in done.out


@pytest.mark.parametrize(
    ("changed", "message"),
    [(("--contract", "spot"), "stored with kind perpetual, this says spot"), (("--fee", "0.002"), "stored with maker_fee 0.0004")],
)
def test_a_stored_instrument_does_not_become_another_in_silence(
    mia: Mia, two: None, tmp_path: Path, changed: tuple[str, ...], message: str
) -> None:
    done = mia("data", "import", tmp_path / "e.csv", "--instrument", "binance_usdm:ETHUSDT", *UNKNOWN, *changed)

    assert done.code == 4
    assert message in done.err


def test_a_damaged_month_is_named_and_not_the_folder_of_all(mia: Mia, two: None, tmp_path: Path) -> None:
    month = next((tmp_path / "home").rglob("BTCUSDT/bars_30m/2024-03.parquet"))
    month.write_bytes(month.read_bytes()[:500])

    done = mia(*RUN, "--assets", "binance_usdm:BTCUSDT")

    assert done.code == 1
    assert "2024-03.parquet: cannot be read" in done.err
    assert done.err.isprintable() or done.err.strip().isprintable()


def test_runs_that_are_made_at_once_count_each_other(mia: Mia, two: None) -> None:
    done = mia(*RUN, "--assets", "binance_usdm:BTCUSDT", "--timeframes", "1h", "4h", "1d", "--json")

    assert [run["trials"]["trials"] for run in json.loads(done.out)] == [3, 3, 3]


def test_stored_bars_are_looked_through_for_leaks(mia: Mia, two: None, tmp_path: Path) -> None:
    times = [f"2024-03-{1 + k // 144:02d}T{k % 144 // 6:02d}:{k % 6}0:00Z" for k in range(1, 3 * 144 + 1)]  # of closes: 00:10 to 00:00
    (tmp_path / "late.csv").write_text("date,open,high,low,close,volume\n" + "".join(f"{time},100,101,99,100,5\n" for time in times))
    assert mia("data", "import", tmp_path / "late.csv", "--instrument", "binance_spot:BTCUSDT").code == 0

    assert mia("backtest", "leaks", "--assets", "binance_usdm:BTCUSDT", "binance_usdm:ETHUSDT").code == 0
    done = mia("backtest", "leaks", "--assets", "binance_spot:BTCUSDT", "--json")

    assert done.code == 1
    assert "catalogue binance_spot" in json.loads(done.out)["findings"][0]["file"]


def test_words_behind_an_option_are_its_own_until_the_next_dash() -> None:
    app = typer.Typer()
    seen: list[Any] = []

    @app.command(cls=SpacedCommand)
    def verb(
        files: Annotated[list[str] | None, typer.Argument()] = None,
        many: Annotated[list[str] | None, typer.Option("--many", "-m", metavar="X...")] = None,
        few: Annotated[list[str] | None, typer.Option("--few", metavar="Y")] = None,
    ) -> None:
        seen.append((files or [], many or [], few or []))

    command = typer.main.get_command(app)
    for line in ("f --many a b --few c d", "-m a b -m c -- --many", "--many=a b --few c", "f g"):
        command.main(args=line.split(), standalone_mode=False)

    assert seen == [(["f", "d"], ["a", "b"], ["c"]), (["--many"], ["a", "b", "c"], []), (["b"], ["a"], ["c"]), (["f", "g"], [], [])]
    assert words(["a,b", "c", " d , e "]) == ["a", "b", "c", "d", "e"]
