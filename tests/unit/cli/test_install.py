"""`mia install --systemd` prints what would be, writes it once, and never over somebody's change."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mia.cli.install import make_plan

Mia = Callable[..., Any]
DAEMON = "/opt/mia/bin/miad"


def test_printing_writes_nothing_and_names_everything(mia: Mia, tmp_path: Path) -> None:
    result = mia("install", "--systemd", "--daemon", DAEMON, "--root", tmp_path)

    assert result.code == 0
    assert f"\nExecStart={DAEMON} --paper\n" in result.out
    for needed in ("/etc/systemd/system/miad.service", "DynamicUser", "/etc/mia", "/var/lib/miad", "systemctl enable --now miad"):
        assert needed in result.out
    assert "systemd-creds encrypt --name=mqtt-password - /etc/credstore.encrypted/mqtt-password" in result.out
    assert list(tmp_path.iterdir()) == []


def test_writing_twice_changes_nothing_and_keeps_settings(mia: Mia, tmp_path: Path) -> None:
    first = mia("install", "--systemd", "--write", "--daemon", DAEMON, "--root", tmp_path)
    settings = tmp_path / "etc" / "mia" / "miad.toml"
    settings.write_text("# mine\n")
    second = mia("install", "--systemd", "--write", "--daemon", DAEMON, "--root", tmp_path)

    assert (first.code, second.code) == (0, 0)
    assert [line.split()[0] for line in second.out.splitlines()[:2]] == ["kept", "kept"]
    assert settings.read_text() == "# mine\n"


def test_a_changed_unit_is_replaced_by_force_only_and_kept_aside(mia: Mia, tmp_path: Path) -> None:
    mia("install", "--systemd", "--write", "--daemon", DAEMON, "--root", tmp_path)
    unit = tmp_path / "etc" / "systemd" / "system" / "miad.service"
    written = unit.read_text()
    unit.write_text(written + "# mine\n")

    refused = mia("install", "--systemd", "--write", "--daemon", DAEMON, "--root", tmp_path)
    after_refusal = unit.read_text()
    forced = mia("install", "--systemd", "--write", "--force", "--daemon", DAEMON, "--root", tmp_path)

    assert (refused.code, forced.code) == (6, 0)
    assert "--force" in refused.err
    assert after_refusal == written + "# mine\n"
    assert unit.read_text() == written
    assert unit.with_name("miad.service.bak").read_text() == written + "# mine\n"


def test_a_daemon_in_a_home_folder_is_refused_as_a_system_service(mia: Mia, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    result = mia("install", "--systemd", "--write", "--daemon", "/home/ann/venv/bin/miad")

    assert result.code == 6
    assert "/opt/mia" in result.err


def test_without_rights_it_says_so(mia: Mia, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    result = mia("install", "--systemd", "--write", "--daemon", DAEMON)

    assert result.code == 6
    assert "root" in result.err


def test_a_second_instance_has_its_own_user_state_and_settings(mia: Mia, tmp_path: Path) -> None:
    facts = json.loads(mia("install", "--systemd", "--write", "--name", "miad-eth", "--daemon", DAEMON, "--root", tmp_path, "--json").out)

    unit = (tmp_path / "etc/systemd/system/miad-eth.service").read_text()
    assert f"ExecStart={DAEMON} --paper --config /etc/mia/miad-eth.toml\n" in unit
    for line in ("User=miad-eth", "StateDirectory=miad-eth", "Environment=XDG_CONFIG_HOME=/etc XDG_DATA_HOME=/var/lib/miad-eth"):
        assert f"\n{line}\n" in unit
    assert 'name = "eth"' in (tmp_path / "etc/mia/miad-eth.toml").read_text()
    assert facts["steps"][0]["action"] == "wrote"


def test_a_path_with_a_blank_or_a_percent_sign_reaches_systemd_whole(mia: Mia) -> None:
    result = mia("install", "--systemd", "--user", "--daemon", "/srv/my 5% mia/bin/miad")

    assert 'ExecStart="/srv/my 5%% mia/bin/miad" --paper\n' in result.out


@pytest.mark.parametrize("arguments", [[], ["--systemd", "--name", "../evil", "--daemon", DAEMON]], ids=["nothing named", "odd name"])
def test_bad_input_is_one_line(arguments: list[str], mia: Mia) -> None:
    result = mia("install", *arguments)

    assert result.code in (2, 4)
    assert result.err.count("\n") == 1


def test_a_further_instance_is_installed_by_commands_that_name_it(tmp_path: Path) -> None:
    plan = make_plan(Path("/tmp/mia/.venv/bin/miad"), for_user=False, name="miad-eth", environ={})

    commands = [command for _, command in plan.commands]

    assert "/opt/mia/bin/pip install -c constraints.txt ." in commands
    assert "/opt/mia/bin/mia install --systemd --write --name miad-eth" in commands
