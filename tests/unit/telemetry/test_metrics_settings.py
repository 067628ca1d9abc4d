"""[metrics]: what is refused, and why."""

from __future__ import annotations

from typing import Any

import pytest

from mia.domain.errors import ConfigError
from mia.settings import load_settings
from mia.telemetry.settings import MetricsSettings


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "localhost", "example.com", ""])
def test_the_endpoint_is_refused_beyond_loopback(address: str) -> None:
    with pytest.raises(ConfigError, match=r"\[metrics\] address must be loopback"):
        MetricsSettings(address=address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_addresses_are_accepted(address: str) -> None:
    assert MetricsSettings(address=address).address == address


@pytest.mark.parametrize("change", [{"interval_s": 0.0}, {"keep_samples": 1}, {"port": 70_000}, {"csv_max_mb": 0}, {"probe_every_s": -1.0}])
def test_figures_out_of_bounds_name_their_key(change: dict[str, Any]) -> None:
    (key,) = change

    with pytest.raises(ConfigError, match=rf"\[metrics\] {key} must be between"):
        MetricsSettings(**change)


def test_the_section_is_part_of_the_settings() -> None:
    loaded = load_settings(environ={"MIA__METRICS__PORT": "9999"})

    assert loaded.settings.metrics.port == 9999
    assert loaded.settings.metrics.endpoint
