"""Errors, named for what the caller does next. An expected "no" is a value, not an exception."""


class MiaError(Exception):
    """Root of everything we raise on purpose; its text names what and where, and what to do."""


class Transient(MiaError):
    """Try again later (reconnect, back off); never used for an order that was sent."""


class FeedLost(Transient):
    """The connection to a market feed is gone."""


class VenueBusy(Transient):
    """The venue asked us to slow down."""


class FeedCorrupt(MiaError):
    """A frame is not what the venue promises: drop it and count it; a book is invalid until resync."""


class FailStop(MiaError):
    """An invariant or the disk broke: alert, exit 1, let the supervisor restart us."""


class ConfigError(MiaError):
    """Do not start (exit 4): settings, a model or a calendar are not usable."""


class DataError(MiaError):
    """An input file is missing, unreadable or not what it claims to be (exit 1)."""


class InvalidTransition(FailStop):
    """A report asked for a status change that the order table does not list."""


class AlreadyRunning(MiaError):
    """Another process holds this state directory (exit 6)."""


class NotPermitted(MiaError):
    """Asked for something that the settings, the mode or this version do not allow (exit 6)."""


class SealedError(NotPermitted):
    """Asked for history that is sealed as a holdout (exit 6)."""


class NotRunning(MiaError):
    """There is no daemon to ask (exit 3)."""
