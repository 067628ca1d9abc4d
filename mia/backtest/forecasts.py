"""The forecast of VIX: its inputs, and its values for a file of daily closes, as predictions that arrive with each close. Offline only."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np

from mia.backtest.references import good_friday, is_federal_holiday, vix_known_ns
from mia.domain.errors import ConfigError, DataError
from mia.features.columns import F64, I64, PREDICTED, EventColumns
from mia.features.models import Linear
from mia.features.series import PREDICTION_NUMBER

HAR: Final = ("ln_1", "ln_5", "ln_22")
VIX_INPUTS: Final = (*HAR, "monday", "tuesday", "wednesday", "thursday", "days_ahead")
VIX_WARM: Final = 22  # rows that the longest mean needs before the first one
_DAY_NS: Final = 86_400 * 10**9
_EPOCH: Final = date(1970, 1, 1)


def vix_inputs(days: I64, close: F64, after: I64) -> F64:
    """[n, len(VIX_INPUTS)]: what is known at the close of each day; days, after [n]: Unix days, and the session that follows each.

    Means of ln VIX over 1, 5 and 22 days (Corsi 2009); which weekday the forecast is for and how many days ahead it is: VIX counts
    calendar days, so it rises over a weekend. The last change, the day's range, the deviation of changes and a mean of 252 days made
    the forecast no better out of sample. The first 22 rows are not warm.
    """
    ln = np.log(close)

    def mean(n: int) -> F64:
        total = np.concatenate([np.zeros(n), np.cumsum(ln)])
        out: F64 = (total[n:] - total[:-n]) / n
        return out

    weekday = [((after + 3) % 7 == k).astype(np.float64) for k in range(4)]  # 1970-01-01 was a Thursday
    return np.stack([ln, mean(5), mean(22), *weekday, (after - days).astype(np.float64)], axis=1)


def next_session(day: date) -> date:
    """The next day of a VIX close by rule: a weekday that is no Good Friday and no federal holiday, but for those on which stocks trade.

    Columbus Day and Veterans Day are such days. What is announced (a day of mourning, a storm) is in no rule.
    """
    day += timedelta(days=1)
    while day.weekday() >= 5 or day == good_friday(day.year) or (is_federal_holiday(day) and not _trades(day)):
        day += timedelta(days=1)
    return day


def _trades(day: date) -> bool:
    return day.month == 10 or (day.month == 11 and 10 <= day.day <= 12)


def sessions_after(days: I64) -> I64:
    """next_session of Unix days, as Unix days."""
    return np.array([(next_session(_EPOCH + timedelta(days=int(day))) - _EPOCH).days for day in days], dtype=np.int64)


def predict_vix(vix: EventColumns, model: Linear, where: str) -> EventColumns:
    """One prediction per close of `vix` (read_reference of a daily file) from the end of the model's training span on.

    value: exp of the forecast of ln VIX, the median of the next close. confidence: share_nearer of the model's errors, how often out of
    sample the forecast was nearer to the next close than the last close was; 0.5: no better than no forecast. Known when its close is
    known (15:20 Chicago), valid until the next one should be. Nothing later than a row enters it. DataError when the series is not
    daily, ConfigError (`where`) when the model reads other inputs or the file ends within the training span.
    """
    if tuple(model.inputs) != VIX_INPUTS or "share_nearer" not in model.errors:
        raise ConfigError(f"{where}: predicted_vix: not a forecast of this version: fit it again with mia-train features --vix")
    days = vix.ts_event_ns // _DAY_NS
    if len(days) <= VIX_WARM or np.diff(days).min() < 1:
        raise DataError(f"the forecast of VIX reads daily closes, at least {VIX_WARM + 1}")
    after = sessions_after(days)
    value = np.exp(model.intercept + vix_inputs(days, vix.x, after) @ np.array(model.weights))
    keep = (vix.b >= model.last_ns) & (np.arange(len(days)) >= VIX_WARM)
    if not keep.any():
        until = datetime.fromtimestamp(model.last_ns / 1e9, UTC).date()
        raise ConfigError(f"{where}: predicted_vix: fitted on closes until {until}, where the VIX file ends: fit it on fewer with --share")
    known = vix.b[keep]
    until_ns = np.array([vix_known_ns(_EPOCH + timedelta(days=int(day))) for day in after[keep]], dtype=np.int64)
    zeros = np.zeros(len(known), dtype=np.int64)
    confidence = np.full(len(known), min(max(model.errors["share_nearer"], 0.0), 1.0))
    number = zeros + PREDICTION_NUMBER["vix"]
    columns = [zeros + PREDICTED, known, vix.ts_event_ns[keep], number, known, until_ns, zeros, zeros, zeros, value[keep], confidence]
    return EventColumns._make([*columns, np.zeros((0, 2), dtype=np.int64)])
