"""The same signal for ever: nothing (flat), or a held position."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel
else:
    from mia.kernels.rule import RuleKernel


@cython.cfunc
@cython.exceptval(check=False)
def constant_step(size: cython.double) -> cython.double:
    """The size."""
    return size


@cython.final
@cython.cclass
class Constant(RuleKernel):  # type: ignore[misc]
    """No columns."""

    size: cython.double

    def __init__(self, size: float) -> None:
        RuleKernel.__init__(self, 0, False)
        self.size = size

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return constant_step(self.size)
