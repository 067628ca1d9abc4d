"""How far a resting order moves up when the size shown at its price shrinks. Only aggregated depth is known, so it is an estimate.

ahead: lots before us, behind: lots after us, shrunk: what left the level without trading (trades always leave from the front).
  risk_averse   cancels leave from behind us as long as there is anything behind: ahead = min(ahead, shown)
  power, log    a cancel comes from behind us with probability p = f(behind) / (f(behind) + f(ahead)), f(x) = x^n or log(1 + x);
                the expected share 1 - p of it was before us; what cannot have been behind us was before us too
Sources: E. Rigtorp (2013), "Estimating order queue position"; the forms of f are those of hftbacktest's documentation
("Order Fill", ProbQueueModel, PowerProbQueueModel, LogProbQueueModel).
"""

from __future__ import annotations

import math


def p_behind(ahead: int, behind: int, form: str, power: float) -> float:
    """Probability that a canceled lot was behind us; 1.0 when there is nothing on either side."""
    if form == "power":
        front, back = float(max(0, ahead)) ** power, float(max(0, behind)) ** power
    else:
        front, back = math.log1p(max(0, ahead)), math.log1p(max(0, behind))
    total = front + back
    return back / total if total > 0.0 else 1.0


def ahead_after(ahead: int, was: int, traded: int, shown: int, form: str, power: float) -> int:
    """Lots ahead of us once a level of `was` lots shows `shown`, of which `traded` were trades that have been taken off `ahead` already.

    Rounded up, against us; in [0, shown]. form: risk_averse | power | log. A level that grew changes nothing: who comes late is behind us.
    """
    shrunk = was - traded - shown
    if form == "risk_averse" or shrunk <= 0 or ahead <= 0:
        return max(0, min(ahead, shown))
    behind = max(0, was - traded - ahead)
    p = p_behind(ahead, behind, form, power)
    overflow = min(behind - p * shrunk, 0.0)
    return max(0, min(math.ceil(ahead - (1.0 - p) * shrunk + overflow), shown, ahead))
