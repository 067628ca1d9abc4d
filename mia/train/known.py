"""What the plans of training know beside the market: the calendar files, outside series, and the models behind columns.

The models come from a file that was fitted earlier. A row that is not later than all they saw would flatter whoever reads their
columns: such rows are dropped, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from mia.assemble import calendar_files
from mia.backtest.calendars import calendar_over
from mia.backtest.feature_run import lacking
from mia.backtest.feature_sources import Request, outside_of
from mia.backtest.readers import utc
from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec
from mia.features.batch import NOTHING
from mia.features.calendars import UTC_DAYS, Calendar
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import EventColumns
from mia.features.models import FeatureModels, parse_models
from mia.risk.windows import Windows, load_windows

EVENT_COLUMNS = ("minutes_to_event", "minutes_since_event", "next_event_impact")
_WEEK = timedelta(days=7)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """windows: sessions and events; None: UTC days. models: of the file models_path; references: (name of a series, file)."""

    windows: Windows | None = None
    models: FeatureModels | None = None
    models_path: Path | None = None
    references: tuple[tuple[str, Path], ...] = ()

    def calendar(self, family: str, first_ns: int, last_ns: int) -> Calendar:
        """The family's calendar around this span: in it, the values of live's, to the same valid_until."""
        if self.windows is None:
            return UTC_DAYS
        first, last = (datetime.fromtimestamp(ns // 1_000_000_000, UTC).date() for ns in (first_ns, last_ns))
        calendar = calendar_over(self.windows, family, first - _WEEK, last + _WEEK)
        return msgspec.structs.replace(calendar, valid_until_ns=self.windows.valid_until_ns(family))

    def lists_events_at(self, ts_ns: int) -> bool:
        """Had the list of events begun by then? Before its first one it is silent, not empty."""
        return self.windows is not None and any(e.at_ns <= ts_ns for e in self.windows.events)

    def outside(self, first_ns: int, last_ns: int) -> tuple[EventColumns, list[str]]:
        """References and, where VIX is among them, its forecast by these models; and what does not cover the span."""
        is_forecast = self.models is not None and self.models.predicted_vix is not None and "vix" in dict(self.references)
        forecasts = (("vix", self.models_path),) if is_forecast and self.models_path is not None else ()
        if not self.references:
            return NOTHING, []
        return outside_of(Request(references=self.references, predictions=forecasts), first_ns, last_ns)

    def model_columns(self, lacks: Sequence[str]) -> tuple[str, ...]:
        """Columns that the models compute from inputs that are there; lacks: inputs that are not."""
        if self.models is None:
            return ()
        return tuple(name for name in shipped_catalogue().names if self.models.behind(name) and not lacking(name, lacks, self.models))


def read_known(models_path: Path | None, references: Iterable[tuple[str, Path]] = ()) -> Known:
    """The calendar files in force (the user's, else the shipped ones), and the models of a file; ConfigError names what is wrong."""
    models = None
    if models_path is not None:
        try:
            data = models_path.read_bytes()
        except OSError as e:
            raise ConfigError(f"--feature-models {models_path}: cannot be read: {e.strerror}: make one with mia-train features") from None
        models = parse_models(data, f"--feature-models {models_path}")
    return Known(windows=load_windows(*calendar_files()), models=models, models_path=models_path, references=tuple(references))


def check_models(known: Known, bar: BarSpec, lacks: Sequence[str]) -> int:
    """The end of the models' span, ns (0 without models); ConfigError when they cannot serve a fit on these bars.

    lacks: inputs that the data of the fit does not have.
    """
    models, where = known.models, f"--feature-models {known.models_path}"
    if models is None:
        return 0
    if models.fit is None:
        raise ConfigError(f"{where}: does not say on what rows its models were fitted: no row is known to be later; fit them again")
    if BarSpec.parse(models.fit.bar) != bar:
        raise ConfigError(f"{where}: fitted on {models.fit.bar} bars, this fit is on {bar.text} bars: fit models on the same bars")
    if models.regime is not None and (absent := [name for name in models.regime.columns if lacking(name, lacks)]):
        raise ConfigError(f"{where}: regime reads {absent[0]!r}, which this data does not have: fit models on such data")
    return models.fit.last_ns


def check_seeds(known: Known, seeds: Iterable[int], start_ns: int) -> None:
    """ConfigError when the models saw one of these simulated markets, or rows not before start_ns, where the markets begin."""
    fit = known.models.fit if known.models is not None else None
    if fit is None:
        return
    where = f"--feature-models {known.models_path}"
    if fit.last_ns >= start_ns:
        raise ConfigError(
            f"{where}: fitted on rows until {utc(fit.last_ns)} UTC, the simulated markets begin on {utc(start_ns)} UTC: no row is later"
        )
    if fit.source.startswith("simulated") and not fit.seeds:
        raise ConfigError(f"{where}: fitted on simulated markets without naming their seeds: fit the models again")
    if shared := sorted(set(fit.seeds) & set(seeds)):
        raise ConfigError(f"{where}: fitted on {len(shared)} of these markets (seed {shared[0]}): fit models on others")
