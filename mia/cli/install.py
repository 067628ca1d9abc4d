"""`mia install --systemd`: the unit with this installation's path, the folders, and the commands that finish the work.

By default it prints. With --write it writes what is missing, line by line said, and never over a file that somebody changed.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from mia.cli.places import JsonOption
from mia.domain.errors import ConfigError, DataError, NotPermitted

_HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # ProtectHome=yes, PrivateTmp=yes
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")


class Plan(NamedTuple):
    """What an installation consists of."""

    name: str  # of the unit, without .service
    for_user: bool
    unit_path: Path
    unit: str
    config_dir: Path  # settings, calendars
    state_dir: str  # as people name it
    commands: tuple[tuple[str, str], ...]  # (why, command), in order


class Step(NamedTuple):
    """One thing done or found."""

    action: str  # wrote | kept | made | refused | ran
    path: str
    text: str


def install(
    systemd: Annotated[bool, typer.Option("--systemd", help="As a service of systemd.")] = False,
    for_user: Annotated[bool, typer.Option("--user", help="Of your own user manager; needs no root, protects less.")] = False,
    write: Annotated[bool, typer.Option("--write/--print", help="Write the files; by default they are only printed.")] = False,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the unit, for a second instance.")] = "miad",
    root: Annotated[Path | None, typer.Option("--root", metavar="DIR", help="Write below DIR, as packagers and tests do.")] = None,
    daemon: Annotated[Path | None, typer.Option("--daemon", metavar="PATH", help="Where miad will lie; else beside this Python.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a changed unit; the old one stays as .bak.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print or install the service: unit, settings folder, and the exact commands that remain. Exit 6 when it would overwrite a change."""
    if not systemd:
        raise typer.BadParameter("say what to install: --systemd")
    program = daemon.absolute() if daemon else _daemon_path()
    plan = make_plan(program, for_user=for_user, name=name, environ=dict(os.environ))
    steps = _write(plan, program, root, force) if write else []
    if as_json:
        from mia.cli.output import print_json

        print_json(_facts(plan, steps))
    elif write:
        _print_steps(plan, steps)
    else:
        _print_plan(plan)
    if any(step.action == "refused" for step in steps):
        raise NotPermitted(next(step.text for step in steps if step.action == "refused"))


def make_plan(daemon: Path, *, for_user: bool, name: str, environ: dict[str, str]) -> Plan:
    """The plan for one unit; ConfigError for a name that systemd or a path would not take."""
    from mia.shipped import unit_file

    if not _NAME.fullmatch(name):
        raise ConfigError(f"--name {name!r}: use a small letter, then small letters, digits and '-', at most 31")
    unit = render(unit_file(for_user=for_user).read_text(encoding="utf-8"), daemon, name, for_user=for_user)
    if for_user:
        home = Path(environ.get("HOME") or Path.home())
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        state = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "miad"
        path = config / "systemd" / "user" / f"{name}.service"
        return Plan(name, True, path, unit, config / "mia", str(state), _user_commands(name, config / "mia"))
    path = Path("/etc/systemd/system") / f"{name}.service"
    return Plan(name, False, path, unit, Path("/etc/mia"), f"/var/lib/{name}", _system_commands(name, daemon))


def render(template: str, daemon: Path, name: str, *, for_user: bool) -> str:
    """The shipped unit with the daemon's path; a further instance gets its own settings file, user and state."""
    program = str(daemon).replace("%", "%%").replace("$", "$$")
    if any(c.isspace() or c in "\"'\\" for c in program):
        program = '"' + program.replace("\\", "\\\\").replace('"', '\\"') + '"'
    settings = "" if name == "miad" else f" --config {'%h/.config' if for_user else '/etc'}/mia/{name}.toml"
    lines = []
    for line in template.splitlines():
        if line.startswith("ExecStart="):
            line = f"ExecStart={program} --paper{settings}"
        elif name != "miad":
            line = re.sub(r"^(User|StateDirectory)=miad$", rf"\1={name}", line)
            line = line.replace("/var/lib/miad", f"/var/lib/{name}").replace("MIA, a trading daemon", f"MIA, a trading daemon, {name}")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _daemon_path() -> Path:
    """`miad` of the environment that runs us."""
    path = Path(sys.executable).parent / "miad"
    if not path.is_file():
        raise DataError(f"{path}: no such program beside this Python: install mia into this environment, or name it with --daemon")
    return path


def hidden_by_unit(daemon: Path) -> bool:
    """True when the system unit could not see the daemon: home folders are hidden from it."""
    places = {daemon, daemon.parent.resolve(), (daemon.parent / "python").resolve()}  # an environment's Python may lie elsewhere
    return any(place.is_relative_to(folder) for place in places for folder in _HIDDEN)


def _system_commands(name: str, daemon: Path) -> tuple[tuple[str, str], ...]:
    drop_in = f"/etc/systemd/system/{name}.service.d"
    credential = "/etc/credstore.encrypted/mqtt-password"
    lines = (
        []
        if not hidden_by_unit(daemon)
        else [("first: install mia where a service can see it (run this in a copy of the repository)", "python3.11 -m venv /opt/mia")]
    )
    if lines:
        named = "" if name == "miad" else f" --name {name}"
        lines.append(("", "/opt/mia/bin/pip install -c constraints.txt ."))
        lines.append(("", f"/opt/mia/bin/mia install --systemd --write{named}"))
    lines += [
        ("only with MQTT: encrypt the broker's password for this machine", "install -d -m 700 /etc/credstore.encrypted"),
        ("", f"systemd-ask-password -n 'MQTT password:' | systemd-creds encrypt --name=mqtt-password - {credential}"),
        ("", f"install -d {drop_in}"),
        ("", f"printf '[Service]\\nLoadCredentialEncrypted=mqtt-password:{credential}\\n' > {drop_in}/mqtt.conf"),
        ("read the units again", "systemctl daemon-reload"),
        ("start now and at every boot", f"systemctl enable --now {name}"),
        ("look", f"systemctl status {name}"),
        ("", f"journalctl -u {name} -n 20"),
        ("", f"mia status --state /var/lib/{name}/{_instance(name)}-paper"),
    ]
    return tuple(lines)


def _user_commands(name: str, config: Path) -> tuple[tuple[str, str], ...]:
    drop_in = f"{config.parent}/systemd/user/{name}.service.d"
    return (
        ("only with MQTT: the broker's password, readable by you alone", f"install -d -m 700 {config}"),
        ("", f"(umask 077; systemd-ask-password -n 'MQTT password:' > {config}/mqtt-password)"),
        ("", f"install -d {drop_in}"),
        ("", f"printf '[Service]\\nLoadCredential=mqtt-password:{config}/mqtt-password\\n' > {drop_in}/mqtt.conf"),
        ("go on running when you log out", "loginctl enable-linger"),
        ("read the units again", "systemctl --user daemon-reload"),
        ("start now and at every boot", f"systemctl --user enable --now {name}"),
        ("look", f"systemctl --user status {name}"),
        ("", f"journalctl --user -u {name} -n 20"),
        ("", "mia status" if name == "miad" else f"mia status --config {config}/{name}.toml"),
    )


def _write(plan: Plan, daemon: Path, root: Path | None, force: bool) -> list[Step]:
    """Bring the files up to the plan; NotPermitted without the rights to."""
    from mia.shipped import config_file

    if root is None and not plan.for_user and os.geteuid() != 0:
        raise NotPermitted("writing to /etc needs root: use sudo, or --user for a service of your own, or --root DIR")
    if root is None and not plan.for_user and hidden_by_unit(daemon):
        raise NotPermitted(
            f"{daemon}: lies in a home or temporary folder, which the unit hides from the daemon: install mia into /opt/mia, or use --user"
        )
    try:
        steps = [_write_unit(_below(root, plan.unit_path), plan.unit, force)]
        settings = _below(root, plan.config_dir / ("miad.toml" if plan.name == "miad" else f"{plan.name}.toml"))
        if not settings.parent.is_dir():
            settings.parent.mkdir(mode=0o755, parents=True)
            steps.append(Step("made", str(settings.parent), "settings and calendars"))
        if settings.exists():
            steps.append(Step("kept", str(settings), "settings, as they are"))
        else:
            text = config_file("miad.toml").read_text(encoding="utf-8")
            settings.write_text(text.replace('name = "mia"', f'name = "{_instance(plan.name)}"', 1), encoding="utf-8")
            steps.append(Step("wrote", str(settings), "settings, as shipped: yours to edit"))
    except OSError as e:
        raise NotPermitted(f"{e.filename}: cannot be written ({e.strerror}): run it with the rights to, or name another --root") from e
    return steps


def _instance(name: str) -> str:
    return "mia" if name == "miad" else name.removeprefix("miad-")


def _write_unit(path: Path, unit: str, force: bool) -> Step:
    if path.is_file():
        old = path.read_text(encoding="utf-8", errors="replace")
        if old == unit:
            return Step("kept", str(path), "unit, already as it should be")
        if not force:
            return Step(
                "refused", str(path), f"{path}: differs from what this version writes: move your changes to a drop-in, then use --force"
            )
        path.with_name(path.name + ".bak").write_text(old, encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(unit, encoding="utf-8")
    path.chmod(0o644)  # the manager and every user may read it; it holds no secret
    return Step("wrote", str(path), "unit")


def _below(root: Path | None, path: Path) -> Path:
    return path if root is None else root.absolute() / path.relative_to("/")


def _facts(plan: Plan, steps: list[Step]) -> dict[str, Any]:
    return {
        "name": plan.name,
        "scope": "user" if plan.for_user else "system",
        "unit_path": str(plan.unit_path),
        "unit": plan.unit,
        "config_dir": str(plan.config_dir),
        "state_dir": plan.state_dir,
        "commands": [command for _, command in plan.commands],
        "steps": [step._asdict() for step in steps],
    }


def _print_steps(plan: Plan, steps: list[Step]) -> None:
    for step in steps:
        if step.action != "refused":
            print(f"{step.action:<6} {step.path}  ({step.text})")
    if not any(step.action == "refused" for step in steps):
        _print_commands(plan)


def _print_plan(plan: Plan) -> None:
    print(f"# {plan.unit_path}")
    print(plan.unit)
    print(f"# user      {'you' if plan.for_user else f'{plan.name}, made by systemd while the service runs (DynamicUser)'}")
    print(f"# settings  {plan.config_dir}  (miad.toml, trade_windows.toml, macro_events.csv; absent ones are as shipped)")
    print(f"# state     {plan.state_dir}")
    print("# nothing was written; --write installs the unit and the settings")
    _print_commands(plan)


def _print_commands(plan: Plan) -> None:
    for why, command in plan.commands:
        if why:
            print(f"\n# {why}")
        print(command)
