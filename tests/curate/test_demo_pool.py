"""The demo's pool: img2dataset's layout, faults of known shares, and a truth that holds."""

import io
import json
import tarfile
from collections import Counter, defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.demo.chance import generator
from curate.demo.faults import break_image, rewrap
from curate.demo.plan import FAULTS, plan_clean, plan_pool
from curate.demo.pool import render, write_samples, write_truth

N_SAMPLES = 240


@pytest.fixture(scope="module")
def entries():
    return plan_pool(5, N_SAMPLES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, entries):
    folder = tmp_path_factory.mktemp("pool")
    write_samples(folder, entries)
    write_truth(folder / "truth.parquet", entries)
    return folder


def members(path):
    found = defaultdict(dict)
    with tarfile.open(path) as tar:
        for member in tar:
            key, suffix = member.name.split(".", 1)
            found[key][suffix] = tar.extractfile(member).read()
    return found


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_plan_has_the_stated_shares():
    plan = plan_pool(0, 3000)
    kinds = Counter(entry.kind for entry in plan)
    for kind, share in FAULTS.items():
        assert kinds[kind] == pytest.approx(share * 3000, abs=1)
    assert kinds["truncated_tar"] == 1
    assert len({entry.uid for entry in plan}) == len({entry.key for entry in plan}) == 3000


def test_duplicates_point_at_clean_samples_each_at_its_own():
    plan = plan_pool(0, 1000)
    kind_of = {entry.uid: entry.kind for entry in plan}
    originals = [entry.duplicate_of for entry in plan if entry.duplicate_of]
    assert {kind_of[uid] for uid in originals} == {"clean"}
    assert len(set(originals)) == len(originals)


def test_training_pictures_are_not_in_the_pool():
    pool, clean = plan_pool(0, 300), plan_clean(0, 300)
    assert {entry.source for entry in pool}.isdisjoint(entry.source for entry in clean)
    assert {render(e).image for e in pool[:50]}.isdisjoint(render(e).image for e in clean[:50])


def test_shards_are_laid_out_as_img2dataset_does(folder, entries):
    assert [path.name for path in sorted(folder.glob("*.tar"))] == [f"{n:05d}.tar" for n in range(6)]
    samples = members(folder / "00000.tar")
    table = pq.read_table(folder / "00000.parquet").to_pylist()
    assert json.loads((folder / "00000_stats.json").read_text())["count"] == len(samples) == 40
    for (key, files), row, entry in zip(samples.items(), table, entries, strict=False):
        assert key == row["key"] == entry.key
        assert len(files) == 3
        assert json.loads(files["json"]) == row
        assert files["txt"].decode() == row["caption"]


def test_the_last_shard_ends_inside_its_last_sample(folder, entries):
    last = entries[-1]
    with tarfile.open(folder / "00005.tar") as tar:
        with pytest.raises(tarfile.ReadError):
            tar.getmembers()
        cut = tar.members[-1]
        assert cut.name.startswith(last.key)
        assert cut.offset_data + cut.size > (folder / "00005.tar").stat().st_size


def test_the_truth_names_every_sample(folder, entries):
    truth = pq.read_table(folder / "truth.parquet").to_pylist()
    assert [row["uid"] for row in truth] == [entry.uid for entry in entries]
    assert {row["shard"] for row in truth} == {f"{n:05d}" for n in range(6)}
    assert all(
        (row["duplicate_of"] is None) == ("pixels" not in row["kind"] and "dup" not in row["kind"])
        for row in truth
    )


def test_duplicates_are_what_the_truth_says(entries):
    by_uid = {entry.uid: entry for entry in entries}
    seen = Counter()
    for entry in entries:
        if entry.duplicate_of is None:
            continue
        copy, original = render(entry), render(by_uid[entry.duplicate_of])
        assert (copy.image == original.image) == (entry.kind == "exact_duplicate")
        assert np.array_equal(pixels(copy.image), pixels(original.image))
        seen[entry.kind] += 1
    assert seen["exact_duplicate"] >= 10
    assert seen["same_pixels"] >= 6


def test_only_broken_images_fail_to_decode(entries):
    for entry in entries[:-1]:
        image = render(entry).image
        if entry.kind == "broken_image":
            with pytest.raises((OSError, SyntaxError)):
                pixels(image)
        else:
            assert pixels(image).shape == (96, 96, 3)


def test_no_two_clean_pictures_have_the_same_pixels(entries):
    originals = [
        render(entry) for entry in entries if entry.duplicate_of is None and entry.kind != "broken_image"
    ]
    assert len({pixels(sample.image).tobytes() for sample in originals}) == len(originals)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_rewrapping_changes_the_bytes_and_no_pixel(suffix):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    stream = io.BytesIO()
    noise.save(stream, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
    data, new_suffix = rewrap(stream.getvalue(), suffix)
    assert data != stream.getvalue()
    assert np.array_equal(pixels(data), pixels(stream.getvalue()))
    assert Image.open(io.BytesIO(data)).format == {"jpg": "JPEG"}.get(new_suffix, new_suffix.upper())


def test_images_break_in_several_ways():
    ways = {break_image(b"x" * 1000, generator(0, i))[:9] for i in range(60)}
    assert {b"", b"<!DOCTYPE", b"x" * 9} < ways


def test_what_is_rendered_is_not_rendered_again(folder, entries):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("*.tar")}
    assert not write_samples(folder, entries)
    assert all(path.stat().st_mtime_ns == when for path, (when, _) in before.items())
    (folder / "rendered.json").unlink()
    assert write_samples(folder, entries)
    assert all(path.read_bytes() == data for path, (_, data) in before.items())


def test_other_settings_replace_the_pool(tmp_path):
    write_samples(tmp_path, plan_pool(0, 60))
    first = (tmp_path / "00000.tar").read_bytes()
    write_samples(tmp_path, plan_pool(1, 60))
    assert (tmp_path / "00000.tar").read_bytes() != first


def test_progress_adds_up(tmp_path):
    steps = []
    write_samples(tmp_path, plan_pool(0, 60), steps.append)
    assert sum(steps) == 60
