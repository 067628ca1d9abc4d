"""The page says what the summary says, no louder; names stay names; runs without trades, money or marks have a page, too."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from mia.backtest.report import page, view_of
from mia.backtest.report.charts import WIDTH, Curve, chart, frame_of
from mia.backtest.run.artifacts import read, write
from mia.backtest.run.result import Result
from mia.backtest.run.stored import StoredRun, stored
from mia.backtest.stats.inputs import Trials
from mia.backtest.stats.registry import interval_text, text, value_text
from mia.domain.errors import DataError
from mia.risk.windows import Windows

Edited = Callable[..., StoredRun]
SAMPLES = 200


class Text(HTMLParser):
    """Text, tags and attributes of a page; a tag that is closed in the wrong order fails."""

    VOID = ("meta", "br")

    def __init__(self, source: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.pieces.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.pieces).split())


def made(run: StoredRun, windows: Windows, **options: Any) -> Text:
    return Text(page(view_of(run, windows, samples=SAMPLES, **options)))


def test_every_figure_of_the_summary_is_there_with_its_interval(run: StoredRun, windows: Windows) -> None:
    view = view_of(run, windows, samples=SAMPLES)
    source = page(view)

    for figure in view.summary.figures:
        row = f"{figure.title}</span></td><td>{text(figure)}</td><td>{interval_text(figure)}</td>"
        assert row in source, figure.name


def test_trials_and_the_deflated_ratio_come_before_any_return(run: StoredRun, windows: Windows) -> None:
    words = made(run, windows, trials=Trials(40, 0.5)).words

    assert words.index("Trials counted 40") < words.index("Deflated Sharpe") < words.index("Return")


def test_nothing_is_loaded_and_nothing_runs(run: StoredRun, windows: Windows) -> None:
    found = made(run, windows)

    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in found.tags}
    for _, attributes in found.tags:
        assert not any(name in ("src", "href", "xlink:href") or name.startswith("on") for name in attributes)
    assert "url(" not in page(view_of(run, windows, samples=0))


def test_the_costs_lead_from_gross_to_net(run: StoredRun, windows: Windows) -> None:
    parts = run.facts["attribution_e8"]
    words = made(run, windows).words
    told = words[words.index("Where the money went") :]

    assert f"gross {parts['gross_e8'] / 1e8:,.2f}" in told
    assert f"- fees {parts['fees_e8'] / 1e8:,.2f}" in told
    assert f"net {parts['net_e8'] / 1e8:,.2f}" in told
    assert "not to the net" not in told


def test_a_cost_that_no_page_knows_is_told_by_its_name(edited: Edited, windows: Windows) -> None:
    def add(facts: dict[str, Any]) -> None:
        facts["attribution_e8"]["stamp_duty_e8"] = 12_345_678_900
        facts["attribution_e8"]["net_e8"] -= 12_345_678_900
        facts["costs"] = {"stamp_duty": {"share": "0.005", "on": True}}

    words = made(edited(facts=add), windows).words

    assert "- stamp_duty 123.46" in words
    assert "stamp_duty.share 0.005 stamp_duty.on yes" in words


def test_parts_that_do_not_come_to_the_net_are_said(edited: Edited, windows: Windows) -> None:
    def break_it(facts: dict[str, Any]) -> None:
        facts["attribution_e8"]["fees_e8"] += 100_000_000

    assert "not to the net" in made(edited(facts=break_it), windows).words


def test_names_from_files_cannot_become_markup(make_run: Callable[..., Result], tmp_path: Any, windows: Windows) -> None:
    evil = "<script>alert(1)<!--\"'&.csv"
    write(make_run(name=evil.replace("/", ""), bars=600), tmp_path / "run")
    run = stored(read(tmp_path / "run"))
    run.facts["strategies"][0]["name"] = "x</title><img src=x onerror=alert(2)>"
    run.facts["notes"].append("<b onclick=alert(3)>")
    run.facts["instruments"][0]["symbol"] = "<i>SYM"
    run.facts["counters"]["codes"]["<u>code"] = 3
    run.facts["versions"]["<s>"] = "<s>"

    found = made(run, windows)

    assert not {"script", "img", "u", "s"} & {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    for name in (evil, "x</title><img src=x onerror=alert(2)>", "<b onclick=alert(3)>", "<i>SYM", "<u>code"):
        assert name in found.words


# --- the answer ----------------------------------------------------------------------------------------------------------


def drift(equity: pl.DataFrame, per_mark: float, noise: float = 0.0) -> pl.DataFrame:
    """The run's equity replaced by one that grows."""
    steps = np.random.default_rng(5).normal(per_mark, noise, len(equity)) if noise else np.full(len(equity), per_mark)
    steps[0] = 0.0
    money = np.rint(1e12 * np.exp(np.cumsum(steps))).astype(np.int64)
    return equity.with_columns(pl.Series("equity_e8", money))


def test_a_loss_is_a_no(edited: Edited, windows: Windows) -> None:
    run = edited(equity=lambda table: drift(table, -0.0005, 0.0002))
    net = (run.columns.track.equity_e8[-1] - run.columns.track.equity_e8[0]) / 1e8
    assert net < 0.0

    view = view_of(run, windows, samples=SAMPLES, trials=Trials(1, 0.0))

    assert f"No. It lost {-net:,.2f} USDT after costs" in Text(page(view)).words
    assert "all of it below 0" in view.answers[1].because
    assert {a.word for a in view.answers} == {"no"}


def test_a_profit_within_chance_is_a_no(edited: Edited, windows: Windows) -> None:
    run = edited(equity=lambda table: drift(table, 0.000001, 0.003))
    assert run.columns.track.equity_e8[-1] > run.columns.track.equity_e8[0]

    view = view_of(run, windows, samples=SAMPLES, trials=Trials(1, 0.0))

    assert view.answers[0].word == "yes"
    assert view.answers[1].word == "no"
    assert re.search(r"No\. It made [\d,.]+ USDT after costs .*, but chance alone may have made that", Text(page(view)).words)


def test_uncounted_trials_leave_even_a_sure_profit_unshown(edited: Edited, windows: Windows) -> None:
    run = edited(equity=lambda table: drift(table, 0.0005, 0.0002))

    view = view_of(run, windows, samples=SAMPLES)

    assert [a.word for a in view.answers] == ["yes", "yes", "yes", "not shown"]
    assert "Not shown. It made" in Text(page(view)).words


def test_only_a_sure_profit_beyond_baselines_and_trials_is_a_yes(edited: Edited, windows: Windows) -> None:
    run = edited(equity=lambda table: drift(table, 0.0005, 0.0002))

    sure = view_of(run, windows, samples=SAMPLES, trials=Trials(10, 0.5))
    lucky = view_of(run, windows, samples=SAMPLES, trials=Trials(1_000_000, 1e6))

    assert "Yes. It made" in Text(page(sure)).words
    assert lucky.answers[-1].word == "no"
    assert "No. It made" in Text(page(lucky)).words


def test_a_profit_below_holding_is_a_no(edited: Edited, windows: Windows) -> None:
    def rising(table: pl.DataFrame) -> pl.DataFrame:
        price = np.rint(200_000 * np.exp(np.arange(len(table)) * 0.001)).astype(np.int64)
        return drift(table, 0.0005, 0.0002).with_columns(pl.Series("mid2_0", price))

    view = view_of(edited(equity=rising), windows, samples=SAMPLES, trials=Trials(1, 0.0))

    beat = next(a for a in view.answers if "buy and hold" in a.question)
    assert beat.word == "no"
    assert f"against {value_text(view.rivals[0].total, 'share')}" in beat.because
    assert "it did not beat buy and hold" in Text(page(view)).words


def test_another_run_is_a_baseline(run: StoredRun, make_run: Callable[..., Result], tmp_path: Any, windows: Windows) -> None:
    write(make_run("donchian"), tmp_path / "other")
    other = stored(read(tmp_path / "other"))

    view = view_of(run, windows, against=[other], samples=SAMPLES)

    assert [r.name.split("(")[0] for r in view.rivals] == ["buy and hold file:WALK", "donchian"]
    assert "Did it beat donchian(entry_period=20" in Text(page(view)).words
    with pytest.raises(DataError, match="is the run itself"):
        view_of(run, windows, against=[run])


def test_an_opened_holdout_is_told_before_the_figures(run: StoredRun, windows: Windows) -> None:
    words = made(run, windows, seals=["holdout h1 was opened on 2026-01-01"]).words

    assert words.index("holdout h1 was opened") < words.index("Equity and drawdown")


# --- runs at the edge ----------------------------------------------------------------------------------------------------


def test_a_run_without_trades_says_so(result: Result, tmp_path: Any, windows: Windows) -> None:
    write(msgspec.structs.replace(result, trips=[]), tmp_path / "run")

    words = made(stored(read(tmp_path / "run")), windows).words

    assert "n/a: no trade was closed." in words
    assert "Hit rate n/a, 0 trades" in words


def test_a_run_that_did_nothing_made_nothing(make_run: Callable[..., Result], tmp_path: Any, windows: Windows) -> None:
    write(make_run("flat"), tmp_path / "run")

    words = made(stored(read(tmp_path / "run")), windows).words

    assert "No. It made nothing: it never closed a trade." in words
    assert "Sharpe n/a, zero variance" in words


def test_a_ruined_account_is_a_no_with_its_time(edited: Edited, windows: Windows) -> None:
    def ruin(table: pl.DataFrame) -> pl.DataFrame:
        money = table["equity_e8"].to_numpy().copy()
        money[1_000:] = -5_000_000_000
        return table.with_columns(pl.Series("equity_e8", money))

    run = edited(equity=ruin)
    words = made(run, windows).words

    assert "No. It lost everything (2024-03-04T11:20:00Z)" in words
    assert "Sharpe n/a, ruined 2024-03-04T11:20:00Z" in words
    assert "Max drawdown 10" in words  # above 100 %: money is owed


def test_one_mark_has_a_page(edited: Edited, windows: Windows) -> None:
    run = edited(equity=lambda table: table.head(1), trades=lambda table: table.head(0))

    words = made(run, windows).words

    assert "Equity and drawdown n/a, 1 mark." in words
    assert "n/a: no month has a return." in words


def test_two_marks_have_a_page(edited: Edited, windows: Windows) -> None:
    run = edited(equity=lambda table: table.head(2), trades=lambda table: table.head(0))

    assert "how sure that is cannot be told" in made(run, windows).words.lower()


def test_a_market_without_a_price_has_no_holder(edited: Edited, windows: Windows) -> None:
    run = edited(equity=lambda table: table.with_columns(pl.lit(0, pl.Int64).alias("mid2_0")), trades=lambda table: table.head(0))

    assert "buy and hold" not in made(run, windows).words


# --- curves --------------------------------------------------------------------------------------------------------------


def test_a_curve_of_a_million_marks_keeps_every_spike_and_stays_small() -> None:
    y = np.full(1_000_000, 50.0)
    y[123_456], y[654_321] = 100.0, 0.0
    curve = Curve("it", "s0", np.arange(1_000_000) * 1_000_000_000, y)

    source = chart("It", frame_of([curve]), [curve])

    (path,) = re.findall(r'<path class="s0" d="([^"]+)"', source)
    heights = [float(h) for h in re.findall(r"[ V](-?[\d.]+)", path)]
    frame = frame_of([curve])
    top, bottom = frame.y(np.array([100.0, 0.0])).tolist()
    assert (min(heights), max(heights)) == (pytest.approx(top, abs=0.06), pytest.approx(bottom, abs=0.06))
    assert path.count("L") < WIDTH
    assert len(source) < 60_000


def test_the_page_is_the_same_every_time(run: StoredRun, windows: Windows) -> None:
    assert page(view_of(run, windows, samples=SAMPLES)) == page(view_of(run, windows, samples=SAMPLES))
