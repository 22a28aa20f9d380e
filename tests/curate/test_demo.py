"""The demo as a whole, once, at a reduced size; and what it does before any work."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from rich.console import Console

from curate.demo import demo, settings
from curate.demo.outcomes import read_outcomes
from curate.demo.truth import fit_share, judge, kept, separation
from pipelines.errors import ConfigError

N_SAMPLES = 300


def told(folder, **options):
    stream = io.StringIO()
    demo.run_demo(folder, console=Console(file=stream, width=110), **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A small demo, and the same once more."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "N_CLEAN", 600)
        patch.setattr(settings, "NETWORK", settings.NETWORK.replace("12800", "3840"))
        first = told(folder, samples=N_SAMPLES)
        times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
        times |= {path: path.stat().st_mtime_ns for path in folder.rglob("*.tar")}
        again = told(folder, samples=N_SAMPLES)
    outcomes = read_outcomes(folder / "run", folder / "truth.parquet")
    return SimpleNamespace(folder=folder, first=first, again=again, times=times, outcomes=outcomes)


@pytest.mark.slow
def test_every_sample_is_accounted_for(done):
    assert len(done.outcomes) == len({each.key for each in done.outcomes}) == N_SAMPLES
    assert sum(
        pq.read_metadata(path).num_rows for path in (done.folder / "curated").glob("*.parquet")
    ) == len(kept(done.outcomes))
    assert len(np.load(done.folder / "curated/subset.npy")) == len(kept(done.outcomes))


@pytest.mark.slow
def test_broken_files_and_copies_are_all_found_and_nothing_else_is(done):
    verdicts = {verdict.stage: verdict for verdict in judge(done.outcomes)}
    for stage in ("ingest", "duplicates"):
        assert verdicts[stage].sought > 10
        assert verdicts[stage].precision == verdicts[stage].recall == 1.0
    assert verdicts["rules"].precision > 0.9
    assert verdicts["rules"].recall > 0.4


@pytest.mark.slow
def test_the_filter_network_tells_fitting_captions_from_others(done):
    assert separation(done.outcomes) > 0.85
    assert fit_share(kept(done.outcomes)) > fit_share(done.outcomes) + 0.2


@pytest.mark.slow
def test_it_shows_what_it_did(done):
    assert "\x1b" not in done.first
    for words in ("Render", "Train", "Curate", "The funnel", "Against the truth", "contact_sheet.png"):
        assert words in done.first
    with Image.open(done.folder / "contact_sheet.png") as sheet:
        assert sheet.format == "PNG"


@pytest.mark.slow
def test_a_second_time_it_uses_what_is_there(done):
    assert all(path.stat().st_mtime_ns == when for path, when in done.times.items())
    assert "trained already" in done.again
    assert done.again.count("(done before)") >= 7
    tables = [text[text.index("The funnel") : text.index("look at")] for text in (done.first, done.again)]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("samples", [-1, 0, demo.MIN_SAMPLES - 1])
def test_too_small_a_pool_is_refused_before_any_work(tmp_path, samples):
    with pytest.raises(ConfigError, match="too few"):
        told(tmp_path / "demo", samples=samples)
    assert not (tmp_path / "demo").exists()


def test_the_configurations_are_plain_and_commented(tmp_path):
    settings.write_run_config(tmp_path / "curate.yaml", seed=7, last_shard="00005")
    settings.write_network_config(tmp_path / "network.yaml", seed=7)
    for path in (tmp_path / "curate.yaml", tmp_path / "network.yaml"):
        assert f"{path}" in path.read_text()
        assert yaml.safe_load(path.read_text())["seed"] == 7
    run = yaml.safe_load((tmp_path / "curate.yaml").read_text())
    assert run["pool"]["shards"] == "pool/{00000..00005}.tar"
    assert [next(iter(stage)) for stage in run["stages"]] == ["rules", "duplicates", "score", "keep"]


def test_the_configurations_are_valid(tmp_path):
    from curate.commands.dfn import load_train_config
    from curate.config import load

    settings.write_run_config(tmp_path / "curate.yaml", seed=7, last_shard="00005")
    settings.write_network_config(tmp_path / "network.yaml", seed=7)
    config, base = load(tmp_path / "curate.yaml")
    assert base == tmp_path
    assert config.encoder.model.endswith("filter-network")
    assert load_train_config(tmp_path / "network.yaml").output == str(tmp_path / "filter-network")


def test_torch_is_not_imported_until_it_is_needed():
    code = "import sys, curate.demo.demo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
