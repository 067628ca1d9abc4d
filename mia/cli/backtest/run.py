"""`mia backtest run`: history through the engine that trades live, every cost itemised, into a run directory."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mia.cli.backtest import options as o
from mia.cli.places import JsonOption

_M_MMAP_THRESHOLD: Final = -3  # malloc.h: larger pieces go back to the system when they are freed; by itself it rises to 32 MB
_COLUMN_BYTES: Final = 1 << 20

if TYPE_CHECKING:
    from mia.backtest.stats.conventions import BacktestingPy


@o.history_options()
def run(
    history: o.History,
    strategy: o.Strategy = None,
    policy: o.Policy = None,
    signals: o.Signals = None,
    param: o.Param = None,
    preset: o.Preset = None,
    duration: o.Duration = o.DURATION_S,
    seed: o.Seed = None,
    signal_age: o.SignalAge = None,
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", min=0, max=100_000, help="Resamples behind each interval; 0: none.")
    ] = 1_000,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Of the run; else a folder by its id among the runs.")] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html beside the run's files.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Trade history as live would have: the same engine, features, risk rules and windows; what it cost, and what was refused why.

    Counts itself as a trial, then writes run.json, equity, orders, fills, decisions and trades.csv: the same run, the same bytes. The page
    beside them, report.html, tells the trial registry as it stands.
    """
    _give_memory_back()
    from mia.assemble import calendar_files
    from mia.backtest.run.artifacts import check_place, write
    from mia.backtest.run.counting import counted_run, deflating, recounted
    from mia.backtest.run.figures import summary_of
    from mia.backtest.run.prepare import prepare
    from mia.cli.backtest.table import conventions_of, print_run
    from mia.cli.output import print_json
    from mia.risk.windows import load_windows
    from mia.store.state_dir import data_home

    name, params = o.strategy_of(strategy, policy, param, signals)
    frames = history.bars()
    if out is not None and len(frames) > 1:
        raise typer.BadParameter("--out names one place, --timeframes asks for several runs: leave one of them out")
    if out is not None:
        check_place(out)
    windows = load_windows(*calendar_files())
    runs = []
    for frame in frames:
        request = history.request(
            name, params, timeframe=frame, preset=preset, duration=duration, seed=seed, signals=signals, signal_age=signal_age
        )
        counted = counted_run(prepare(request), windows)
        folder = out or data_home() / "runs" / counted.result.id
        write(counted.result, folder)
        runs.append((folder, counted))
    runs = list(zip((folder for folder, _ in runs), recounted([counted for _, counted in runs]), strict=True))
    # The table shows no groups; on a million bars they would take as long as the rest.
    summaries = [summary_of(c.result, windows, trials=deflating(c.tried), samples=samples, has_groups=as_json) for _, c in runs]
    pages = [_page(folder, samples) for folder, _ in runs] if report else []
    if as_json:
        print_json(
            [
                {
                    "folder": str(f),
                    **c.result.facts(),
                    "trial": c.trial.key,
                    "trials": c.tried._asdict(),
                    "summary": s,
                    "conventions": _plain(conventions_of(c.result, preset)),
                }
                for (f, c), s in zip(runs, summaries, strict=True)
            ]
        )
        return
    for k, ((folder, counted), summary) in enumerate(zip(runs, summaries, strict=True)):
        if k:
            print()
        print_run(folder, counted, summary, preset)
        if pages:
            print(f"\n{pages[k]}")


def _plain(found: BacktestingPy | str | None) -> object:
    return found if found is None or isinstance(found, str) else found._asdict()


def _give_memory_back() -> None:
    """Before polars is loaded: of a million bars the allocators would keep some 150 MB of what was read and is gone."""
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")  # polars' own: at once instead of after 10 s
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not every C library has it
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _COLUMN_BYTES)


def _page(folder: Path, samples: int) -> str:
    from mia.backtest.report.file import write_page

    file = folder / "report.html"
    view, word, sentence = write_page(folder, file, [], samples)
    found = view.summary.random_entries
    entries = f"n/a, {view.summary.random_entries_why}" if found is None else found.words
    return f"random entries: {entries}\n\n{word[:1].upper()}{word[1:]}. {sentence}\n{file}"
