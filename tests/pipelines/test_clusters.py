"""Workers elsewhere: TLS in both directions, job scripts, manifests, and what workers must have in common."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple

import dask
import distributed  # noqa: F401 - its settings are there from then on
import pytest
import yaml

from curate import run
from curate.config import load
from pipelines import elsewhere
from pipelines.elsewhere import Agreement, require_certificates
from pipelines.engine import Engine, EngineConfig
from pipelines.errors import ConfigError, CurateError
from pipelines.storage import Folder
from tests.making import write_pool
from tests.pools import config, result_bytes

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples/clusters"
PAGE = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
PLUGIN = ROOT / "examples/plugins/calm.py"


def make_certificates(folder: Path) -> Path:
    """Make them by the commands on the page."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make certificates")
    folder.mkdir(parents=True)
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    subprocess.run(["bash", "-ec", commands], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls") / "own")


def settings(folder: Path) -> dict[str, Any]:
    """Return Dask's configuration as the example has it, with these certificates."""
    text = (EXAMPLES / "dask-tls.yaml").read_text().replace("/shared/tls", str(folder))
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def using(content: dict[str, Any]) -> Any:
    """Let settings hold in a block, beside all others."""
    flat: dict[str, Any] = {}

    def walk(node: Any, place: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value, f"{place}{key}.")
            else:
                flat[place + key] = value

    walk(content, "")
    return dask.config.set(flat)


# Certificates


def test_the_page_shows_the_examples_settings() -> None:
    shown = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    assert yaml.safe_load((EXAMPLES / "dask-tls.yaml").read_text()) in shown
    assert EngineConfig.model_validate(shown[0]["engine"]).scheduler == "tls://10.0.0.1:8786"


def test_keys_are_for_their_owner(certificates: Path) -> None:
    assert {(certificates / name).stat().st_mode & 0o777 for name in ("key.pem", "ca-key.pem")} == {0o600}


def test_certificates_that_are_there_are_taken(certificates: Path) -> None:
    with using(settings(certificates)):
        require_certificates("tls://10.0.0.1:8786")
    require_certificates("tcp://10.0.0.1:8786")
    require_certificates(None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ca-file": None}, "needs the authority .* DASK_DISTRIBUTED__COMM__TLS__CA_FILE"),
        ({"client": {"cert": None}}, r"name a \.pem file by distributed\.comm\.tls\.client\.cert"),
        ({"client": {"key": "/nowhere/key.pem"}}, "client.key names /nowhere/key.pem, and there is no such"),
        ({"client": {"key": "ca-key.pem"}}, r"certificates for tls://10\.0\.0\.1:8786 don't fit"),
        ({"ca-file": "empty.pem"}, "don't fit"),
    ],
)
def test_missing_certificates_are_named_before_anything_is_tried(
    certificates: Path, tmp_path: Path, change: Any, message: str
) -> None:
    (certificates / "empty.pem").write_text("")
    content = settings(certificates)
    tls = content["distributed"]["comm"]["tls"]
    for key, value in change.items():
        if isinstance(value, dict):
            own = {k: str(certificates / v) if v and "/" not in v else v for k, v in value.items()}
            tls[key] = tls[key] | own
        else:
            tls[key] = value and str(certificates / value)
    engine = {"scheduler": "tls://10.0.0.1:8786"}
    with using(content), pytest.raises(ConfigError, match=message):
        run(config(write_pool(tmp_path / "pool", 1, 2), tmp_path, engine=engine))


def test_an_address_without_encryption_is_refused_where_it_is_required(certificates: Path) -> None:
    with (
        using(settings(certificates)),
        pytest.raises(ConfigError, match=r"tcp://10\.0\.0\.1:8786 is not encrypted"),
    ):
        Engine(EngineConfig(scheduler="tcp://10.0.0.1:8786"))


# A cluster of processes


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a part of the cluster, which reads its settings as on the page."""
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config/dask-tls.yaml").write_text(yaml.safe_dump(settings(folder)))
    return {
        **os.environ,
        "DASK_CONFIG": str(folder / "config"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


def start(folder: Path, *arguments: str, where: Sequence[str] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*where, sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
        env=environment(folder),
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        start_new_session=True,
    )


def said(process: subprocess.Popen[str], pattern: str) -> str:
    """Wait until a process says something on stderr, and return it."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if match := re.search(pattern, line):
            threading.Thread(target=print_rest, args=[process.stderr], daemon=True).start()
            return match.group(1)
    raise AssertionError("".join(lines))


def print_rest(stream: IO[str]) -> None:
    """Show what else a process says, should a test fail; a pipe that nobody empties would stop it."""
    for line in stream:
        print(line, end="")


class Host(NamedTuple):
    """A machine of its own, as far as a network is concerned."""

    address: str
    where: tuple[str, ...] = ()  # what stands in front of a command that runs there


@contextlib.contextmanager
def hosts() -> Iterator[list[Host]]:
    """Make three: network namespaces where we may, or else addresses on loopback. The first one is here."""
    names = [f"curate{os.getpid() % 100_000}-{n}" for n in (1, 2)]
    try:
        try:
            found = namespaces(names)
        except (OSError, subprocess.CalledProcessError):  # no command, or no right
            found = [Host("127.0.0.1"), Host("127.0.0.2"), Host("127.0.0.3")]
        yield found
    finally:
        for name in names:
            for kind in ("link", "netns"):
                with contextlib.suppress(OSError):
                    subprocess.run(["ip", kind, "del", name], check=False, capture_output=True)


def namespaces(names: list[str]) -> list[Host]:
    """Make network namespaces, each with a line of its own to here."""
    ours = f"198.18.{os.getpid() % 250}"  # of a range that is there for tests (RFC 2544)
    found = [Host(f"{ours}.1")]
    for n, name in enumerate(names):
        here, there = f"{ours}.{4 * n + 1}", f"{ours}.{4 * n + 2}"
        for command in (
            f"netns add {name}",
            f"link add {name} type veth peer name eth0 netns {name}",
            f"addr add {here}/30 dev {name}",
            f"link set {name} up",
            f"-n {name} addr add {there}/30 dev eth0",
            f"-n {name} link set eth0 up",
            f"-n {name} route add default via {here}",
        ):
            subprocess.run(["ip", *command.split()], check=True, capture_output=True)
        found.append(Host(there, ("ip", "netns", "exec", name)))
    return found


class Cluster(NamedTuple):
    """A scheduler's address, and those of its two workers."""

    scheduler: str
    workers: set[str]


@pytest.fixture(scope="module")
def cluster(certificates: Path) -> Iterator[Cluster]:
    """A scheduler and two workers over TLS, each on a host of its own."""
    started: list[subprocess.Popen[str]] = []
    with hosts() as (here, *others):
        try:
            place = ["--protocol", "tls", "--host", here.address, "--port", "0"]
            started.append(start(certificates, "scheduler", *place))
            address = said(started[0], r"Scheduler at:\s+(tls://\S+)")
            for host in others:
                options = ["--host", host.address, "--nthreads", "1", "--memory-limit", "0", "--no-nanny"]
                started.append(start(certificates, "worker", address, *options, where=host.where))
            for process in started[1:]:
                said(process, r"(Registered to):")
            yield Cluster(address, {host.address for host in others})
        finally:
            for process in started:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_two_hosts_over_tls_end_in_the_same_bytes(
    cluster: Cluster, certificates: Path, tmp_path: Path
) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=6)
    stages = [{"rules": {"caption_words": [2, 77]}}, {"shouting": {"most": 0.5}}, {"score": "contrast"}]
    stages += [{"duplicates": {"exact": True}}, {"keep": {"by": "contrast", "top": 0.5}}]
    own = {"plugins": [str(PLUGIN)], "stages": stages}
    run(config(pool, tmp_path / "here", **own), allow_plugin=[str(PLUGIN)])
    with using(settings(certificates)):
        there = config(pool, tmp_path / "there", **own, engine={"scheduler": cluster.scheduler, "workers": 2})
        run(there, allow_plugin=[str(PLUGIN)])
        assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "there")
        assert not (tmp_path / "there/run/state/shared").exists()
        with Engine(EngineConfig(scheduler=cluster.scheduler)) as engine:
            assert set(engine.map(address, range(8))) == cluster.workers


def address(number: int) -> str:
    from distributed import get_worker

    time.sleep(0.05)  # so that one worker doesn't take them all
    return str(get_worker().address.split("/")[-1].split(":")[0])


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_who_has_no_certificate_of_ours_gets_no_answer(
    cluster: Cluster, certificates: Path, tmp_path: Path
) -> None:
    strangers = make_certificates(tmp_path / "strangers")
    for content, where in [
        (settings(strangers), cluster.scheduler),
        (
            {"distributed": {"comm": {"require-encryption": False}}},
            cluster.scheduler.replace("tls://", "tcp://"),
        ),
    ]:
        patience = {"distributed.comm.timeouts.connect": "2s"}
        with (
            using(content),
            dask.config.set(patience),
            pytest.raises((CurateError, OSError)),
            Engine(EngineConfig(scheduler=where)) as engine,
        ):
            list(engine.map(abs, [1]))
    with using(settings(certificates)), Engine(EngineConfig(scheduler=cluster.scheduler)) as engine:
        assert list(engine.map(abs, [-1])) == [1]


# What workers must have in common


def test_a_worker_with_other_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    agreement = Agreement.made(None)
    assert agreement.work(abs, -1) == 1
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.1" if name == "numpy" else version(name))
    with pytest.raises(ConfigError, match=r"has numpy 0\.0\.1, and the run was started with \d"):
        Agreement(agreement.versions, None, "another").work(abs, -1)


def test_workers_without_curate_are_named() -> None:
    class Client:
        scheduler = type("Scheduler", (), {"address": "tcp://10.0.0.1:8786"})

        def run(self, function: Any) -> Any:
            raise Exception("ModuleNotFoundError(\"No module named 'pipelines'\")")  # as distributed does

    with pytest.raises(ConfigError, match=r"a worker of tcp://10\.0\.0\.1:8786 .*install curate-pools"):
        elsewhere.kinds_of_machines(Client())


def test_builds_of_one_version_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    before = elsewhere.versions()
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version(name).partition("+")[0] + "+cu128")
    assert elsewhere.versions() == before


def test_a_worker_that_sees_another_folder_is_refused(tmp_path: Path) -> None:
    agreement = Agreement.made(Folder(str(tmp_path)))
    assert agreement.work(abs, -1) == 1
    for content in (None, b"of another run"):
        other = Folder(str(tmp_path / f"{content}"))
        if content:
            other.write("state/shared", content)
        moved = Agreement(agreement.versions, other, agreement.token)
        with pytest.raises(ConfigError, match="doesn't see the run folder"):
            moved.work(abs, -1)
    agreement.ended()
    assert not (tmp_path / "state/shared").exists()


# Examples


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_loaded(path: Path) -> None:
    if path.stem in ("kubernetes", "dask-tls"):  # not of curate, and looked at below and above
        assert list(yaml.safe_load_all(path.read_text()))
        return
    found, _ = load(path)
    assert found.engine.workers > 0
    if found.engine.cluster:
        assert f"--allow-class {found.engine.cluster}" in path.read_text()


def jobs(name: str, tmp_path: Path, **changes: Any) -> Any:
    """Return an example's cluster, on this machine's network."""
    jobqueue = pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not here to write job scripts")
    options = dict(load(EXAMPLES / name)[0].engine.options)
    del options["interface"]
    assert options["scheduler_options"]["dashboard_address"].startswith("127.0.0.1:")
    options |= {"shared_temp_directory": str(tmp_path)}
    options["scheduler_options"] |= {"host": "127.0.0.1"}
    return jobqueue.SLURMCluster(**options | changes)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "slurm.yaml",
            [
                "#SBATCH -p cpu",
                "#SBATCH -A vision",
                "#SBATCH --cpus-per-task=32",
                "#SBATCH --mem=120G",
                "#SBATCH -t 12:00:00",
                "export OMP_NUM_THREADS=2",
                "-m distributed.cli.dask_worker tls://127.0.0.1:",
                "--nthreads 1 --memory-limit 7.45GiB --nworkers 16",
                "--lifetime 690m --lifetime-stagger 20m",
            ],
        ),
        (
            "slurm-gpu.yaml",
            [
                "#SBATCH -p gpu",
                "#SBATCH --gres=gpu:4",
                "#SBATCH --cpus-per-task=64",
                "-m dask_cuda.cli worker tls://127.0.0.1:",
            ],
        ),
    ],
)
def test_job_scripts_ask_for_what_the_example_says(name: str, wanted: list[str], tmp_path: Path) -> None:
    with jobs(name, tmp_path) as cluster:
        script = cluster.job_script()
        assert [line for line in wanted if line not in script] == []
        for part in ("ca-file", "cert", "key"):
            (path,) = re.findall(rf"--tls-{part} (\S+)", script)
            assert Path(path).parent == tmp_path
            assert Path(path).stat().st_mode & 0o777 == 0o600


# As sbatch does, it takes a copy of the script: who submits it removes it at once.
SBATCH = """#!/bin/sh
cp "$1" "{folder}/$$.sh"
setsid bash "{folder}/$$.sh" > "{folder}/job.log" 2>&1 &
echo "$!" >> "{folder}/jobs"
echo "Submitted batch job $!"
"""


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_stand_in_for_slurm_runs_the_jobs_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not here to submit jobs")
    commands = {"sbatch": SBATCH.format(folder=tmp_path), "scancel": '#!/bin/sh\nkill -- "-$1"\n'}
    for name, text in commands.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pool = write_pool(tmp_path / "pool", n_shards=3)
    engine = load(EXAMPLES / "slurm.yaml")[0].engine.model_dump(include={"cluster", "options"})
    del engine["options"]["interface"]
    small = {
        "processes": 1,
        "cores": 1,
        "job_cpu": 1,
        "memory": "2GB",
        "shared_temp_directory": str(tmp_path),
    }
    engine["options"] |= {**small, "log_directory": str(tmp_path)}
    engine["options"]["scheduler_options"] |= {"host": "127.0.0.1"}
    run(config(pool, tmp_path / "here"))
    there = config(pool, tmp_path / "there", engine={**engine, "workers": 2})
    with pytest.raises(ConfigError, match=r"--allow-class dask_jobqueue\.SLURMCluster"):
        run(there)
    run(there, allow_class=["dask_jobqueue.SLURMCluster"])
    assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "there")
    assert len((tmp_path / "jobs").read_text().split()) == 2
    events = [json.loads(line) for line in (tmp_path / "there/run/events.jsonl").read_text().splitlines()]
    assert [event["workers"] for event in events if event["event"] == "engine"] == [2]


def objects() -> dict[tuple[str, str], Any]:
    found = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def pods() -> dict[str, Any]:
    return {
        name: each["spec"]["template"]
        for (kind, name), each in objects().items()
        if kind in ("Deployment", "Job")
    }


def test_the_manifests_options_are_dasks_own() -> None:
    from distributed.cli import dask_scheduler, dask_worker

    known = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
    seen = []
    for pod in pods().values():
        for container in pod["spec"]["containers"]:
            program, part, *rest = container["command"]
            if program == "dask":
                options = {name for each in known[part].params for name in (*each.opts, *each.secondary_opts)}
                assert [word for word in rest if word.startswith("--") and word not in options] == []
                known[part].make_context(part, [str(word) for word in rest])  # values are of the right types
                seen.append(part)
    assert sorted(seen) == ["scheduler", "worker"]


def test_the_manifests_fit_each_other() -> None:
    found = objects()
    service = found["Service", "curate-scheduler"]["spec"]
    scheduler, worker = pods()["curate-scheduler"], pods()["curate-worker"]
    assert scheduler["metadata"]["labels"] == service["selector"]
    for (kind, name), each in found.items():
        if kind == "Deployment":
            assert each["spec"]["selector"]["matchLabels"] == pods()[name]["metadata"]["labels"]
    (container,) = scheduler["spec"]["containers"]
    ports = {container["ports"][0]["containerPort"], container["readinessProbe"]["tcpSocket"]["port"]}
    assert ports == {int(container["command"][container["command"].index("--port") + 1]), 8786}
    assert service["ports"][0]["targetPort"] == 8786
    assert "tls://curate-scheduler:8786" in worker["spec"]["containers"][0]["command"]
    assert len({c["image"] for pod in pods().values() for c in pod["spec"]["containers"]}) == 1
    for pod in pods().values():
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        for each in pod["spec"]["containers"]:
            assert {mount["name"] for mount in each["volumeMounts"]} == volumes
            assert "limits" in each["resources"]
    told = yaml.safe_load(found["ConfigMap", "dask-tls"]["data"]["dask.yaml"])
    assert told == yaml.safe_load((EXAMPLES / "dask-tls.yaml").read_text().replace("/shared/tls", "/tls"))
    assert (
        f"scheduler: tls://{service and 'curate-scheduler'}:8786"
        in (EXAMPLES / "kubernetes.yaml").read_text()
    )


def test_the_operators_cluster_takes_the_examples_options() -> None:
    import inspect

    operator = pytest.importorskip("dask_kubernetes.operator", reason="dask-kubernetes is not here")
    options = load(EXAMPLES / "kubernetes-operator.yaml")[0].engine.options
    inspect.signature(operator.KubeCluster.__init__).bind(None, **options)
    assert options.keys() <= inspect.signature(operator.KubeCluster.__init__).parameters.keys()
