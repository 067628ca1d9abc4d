"""A signal from outside, as it is."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel
else:
    from mia.kernels.rule import RuleKernel


@cython.final
@cython.cclass
class Signals(RuleKernel):  # type: ignore[misc]
    """Columns: the signal."""

    def __init__(self) -> None:
        RuleKernel.__init__(self, 1, False)

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The column at self.x[at]."""
        return self.x[at]
