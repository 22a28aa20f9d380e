"""A schedule as files for the clocks that people have: cron, systemd, Kubernetes, Airflow.

All of them start `curate schedule tick`, which looks for what is new, retries, and tells of it by itself.
"""

from __future__ import annotations

import hashlib
import pprint
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from curate.api import resolved
from curate.config import load
from curate.schedule.entry import Entry
from curate.schedule.tick import tick_command
from curate.schedule.times import fields
from pipelines.errors import ConfigError
from pipelines.storage import is_local

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONGEST_NAME = 40  # a CronJob's is 52 at most


@dataclass(frozen=True)
class Place:
    """Where a schedule on Kubernetes runs.

    Attributes
    ----------
    image
        A container image in which `curate` is a command.
    claims
        Volume claims, and where they are mounted.
    secret
        A secret whose entries become environment variables, such as an object store's credentials.
    """

    image: str | None = None
    claims: tuple[tuple[str, str], ...] = ()
    secret: str | None = None


def export(entry: Entry, as_: str, place: Place | None = None) -> dict[str, str]:
    """Return the files that make a clock do a schedule, by name.

    Raises
    ------
    ConfigError
        When there is no such format, or it can't say what the schedule says.
    """
    formats: Mapping[str, Callable[[], dict[str, str]]] = {
        "cron": lambda: _cron(entry),
        "systemd": lambda: _systemd(entry),
        "kubernetes": lambda: _kubernetes(entry, place or Place()),
        "airflow": lambda: _airflow(entry),
    }
    if as_ not in formats:
        raise ConfigError(f"--as {as_}: there are {', '.join(formats)}")
    return formats[as_]()


def slug(name: str) -> str:
    """Return a name of small letters, digits and hyphens, another one for every name."""
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST_NAME].strip("-")
    if plain and plain == name:
        return name
    return f"{plain or 'schedule'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _cron(entry: Entry) -> dict[str, str]:
    _plain(entry.cron)
    command = shlex.join(tick_command(entry)).replace("%", r"\%")  # which is a line's end to cron
    if "\n" in command or "\r" in command:
        raise ConfigError("cron has one line for a command, and a path or an option here has a line break")
    lines = [
        f"# Times are those of {entry.timezone}. Where cron does not know CRON_TZ (Debian's), they are those",
        "# of the machine: see `timedatectl`.",
        f"CRON_TZ={entry.timezone}",
        f"{entry.cron} {command}",
    ]
    return {f"curate-{slug(entry.name)}.cron": "\n".join(lines) + "\n"}


def _systemd(entry: Entry) -> dict[str, str]:
    name = f"curate-{slug(entry.name)}"
    executable, *words = tick_command(entry)
    # The colon keeps $ from being a variable.
    command = " ".join([f":{_unquoted(executable)}", *map(_quoted, words)])
    service = f"""[Unit]
Description=curate: what is new for {_line(entry.name)}

[Service]
Type=oneshot
ExecStart={command}
TimeoutStartSec=infinity
TimeoutStopSec=90
KillMode=mixed
"""
    times = "\n".join(f"OnCalendar={time} {entry.timezone}" for time in _calendar(entry.cron))
    timer = f"""[Unit]
Description=When curate looks for what is new for {_line(entry.name)}

[Timer]
{times}
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{name}.service": service, f"{name}.timer": timer}


def _calendar(cron: str) -> Iterator[str]:
    """Return systemd's words for the times of a cron expression."""
    found = _plain(cron)
    time = f"{_list(found.hours, 24)}:{_list(found.minutes, 60)}:00"
    months = _list({*found.months}, 12, first=1)
    days = _list({*found.days}, 31, first=1)
    weekdays = {int(each) % 7 for each in found.weekdays}
    names = ",".join(_WEEKDAYS[each] for each in sorted(weekdays)) + " "
    named = names if len(weekdays) < 7 else ""
    if found.day_and or days == "*" or not named:
        yield f"{named}*-{months}-{days} {time}"
    else:  # where both are given, cron means either
        yield f"*-{months}-{days} {time}"
        yield f"{named}*-{months}-* {time}"


def _plain(cron: str) -> Any:
    """Return the fields of a cron expression that every clock has words for."""
    found = fields(cron)
    if not all(isinstance(each, int) and each >= 0 for each in (*found.days, *found.weekdays)):
        raise ConfigError(f"not every clock knows what {cron!r} means: leave out L and #")
    return found


def _without_seven(cron: str) -> str:
    """Return a cron expression in which Sunday is 0, as it is to Kubernetes."""
    weekdays = {int(each) % 7 for each in _plain(cron).weekdays}
    *others, last = cron.split()
    return " ".join([*others, ",".join(map(str, sorted(weekdays))) if len(weekdays) < 7 else last])


def _list(values: Collection[Any], n: int, first: int = 0) -> str:
    if {*values} >= {*range(first, first + n)}:
        return "*"
    return ",".join(f"{value:02d}" for value in sorted(values))


def _quoted(word: str) -> str:
    """Return a word as a unit file has it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def _unquoted(path: str) -> str:
    return path.replace("%", "%%") if re.fullmatch(r"[^\s\"'\\]+", path) else _quoted(path)


def _line(text: str) -> str:
    return " ".join(text.replace("%", "%%").split()).rstrip("\\")


def _kubernetes(entry: Entry, place: Place) -> dict[str, str]:
    if place.image is None:
        raise ConfigError("--as kubernetes needs --image, in which `curate` is a command")
    if entry.allow_plugin:
        raise ConfigError("--as kubernetes: install plugins in the image; their files are on this machine")
    name = f"curate-{slug(entry.name)}"
    config, base = load(entry.config, entry.overrides)
    text = resolved(config, base).decode()
    inside = entry.model_copy(update={"config": "/etc/curate/curate.yaml", "overrides": ()})
    words = tick_command(inside)
    command = ["curate", *words[words.index("schedule") :]]
    container: dict[str, Any] = {
        "name": "tick",
        "image": place.image,
        "command": [word.replace("$(", "$$(") for word in command],  # which is a variable to Kubernetes
        "volumeMounts": [{"name": "config", "mountPath": "/etc/curate", "readOnly": True}],
    }
    volumes: list[dict[str, Any]] = [{"name": "config", "configMap": {"name": name}}]
    for number, (claim, path) in enumerate(place.claims):
        container["volumeMounts"].append({"name": f"data-{number}", "mountPath": path})
        volumes.append({"name": f"data-{number}", "persistentVolumeClaim": {"claimName": claim}})
    if place.secret is not None:
        container["envFrom"] = [{"secretRef": {"name": place.secret}}]
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 90,
        "containers": [container],
        "volumes": volumes,
    }
    job = {
        "schedule": _without_seven(entry.cron),
        "timeZone": entry.timezone,
        "concurrencyPolicy": "Forbid" if entry.overlap == "skip" else "Allow",  # a tick waits by itself
        "startingDeadlineSeconds": 3600,
        "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}},
    }
    parts = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"curate.yaml": text}},
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": job},
    ]
    return {f"{name}.yaml": yaml.safe_dump_all(parts, sort_keys=False, allow_unicode=True)}


def unmounted(entry: Entry, place: Place) -> list[str]:
    """Return the places of a schedule's run that no claim brings into its pod."""
    config, base = load(entry.config, entry.overrides)
    content = yaml.safe_load(resolved(config, base))
    pool = content["pool"].get("shards") or content["pool"].get("metadata")
    places: Sequence[str | None] = [
        *([pool] if isinstance(pool, str) else pool),
        content["run"],
        content["output"].get("shards"),
        content["output"].get("subset"),
    ]
    mounts = [path.rstrip("/") + "/" for _, path in place.claims]
    local = [each for each in places if each and is_local(each.split("::")[0])]
    return [each for each in local if not any(each.startswith(mount) for mount in mounts)]


_DAG = '''"""Looks for what is new for a run of curate. Made by `curate schedule export --as airflow`."""

import subprocess

import pendulum

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task

COMMAND = {command}


@dag(
    dag_id={name!r},
    schedule={cron!r},
    start_date=pendulum.datetime({year}, {month}, {day}, tz={timezone!r}),
    catchup=False,
    max_active_runs={at_once},
)
def look_for_what_is_new():
    @task
    def tick():
        subprocess.run(COMMAND, check=True)

    tick()


look_for_what_is_new()
'''


def _airflow(entry: Entry) -> dict[str, str]:
    name = f"curate-{slug(entry.name)}"
    text = _DAG.format(
        command=pprint.pformat(tick_command(entry), width=100),
        name=name,
        cron=entry.cron,
        timezone=entry.timezone,
        year=entry.since.year,
        month=entry.since.month,
        day=entry.since.day,
        at_once=1 if entry.overlap == "skip" else 2,
    )
    return {f"{name.replace('-', '_')}.py": text}
