"""What a run writes is read by the tools that train on it, as it is."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import webdataset

from curate import run
from tests.making import picture, sample, write_shard
from tests.pools import config

IMAGES = "jpg;png;jpeg;webp"  # open_clip's DEFAULT_IMAGE_KEY
FORMATS = {"jpg": "JPEG", "png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}

Members = dict[str, bytes]


def members(seed: int) -> Members:
    """Return a sample; each seed's image has another suffix, its members another order."""
    suffix = list(FORMATS)[seed % 4]
    whole = {**sample(seed), suffix: picture(seed, format=FORMATS[suffix])}
    if suffix != "jpg":
        del whole["jpg"]
    if seed % 3 == 0:
        whole["cls"] = str(seed).encode()
    names = sorted(whole, reverse=bool(seed % 2))
    return {name: whole[name] for name in names}


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Members]]:
    """Return the output of a run, and the samples of its pool by uid."""
    home = tmp_path_factory.mktemp("compatibility")
    for shard in range(3):
        seeds = range(10 * shard, 10 * shard + 10)
        write_shard(
            home / f"pool/{shard:05d}.tar", ((f"deep.er/{seed:04d}", members(seed)) for seed in seeds)
        )
    run(config(home / "pool", home, stages=[{"rules": {"caption_words": [2, 77]}}]))
    return home / "curated", {f"{seed:032x}": members(seed) for seed in range(30)}


def shards(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.tar"))]


def test_tarfile_reads_every_member_byte_for_byte(curated: tuple[Path, dict[str, Members]]) -> None:
    folder, originals = curated
    found: dict[str, Members] = {}
    for shard in shards(folder):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                stream = tar.extractfile(member)
                assert stream is not None
                found.setdefault(key, {})[suffix] = stream.read()
    by_uid = {json.loads(each["json"])["uid"]: each for each in found.values()}
    assert by_uid == originals


def test_webdataset_reads_every_sample_whole(curated: tuple[Path, dict[str, Members]]) -> None:
    folder, originals = curated
    samples = list(webdataset.WebDataset(shards(folder), shardshuffle=False))
    assert len(samples) == len(originals)
    for each in samples:
        original = originals[json.loads(each["json"])["uid"]]
        assert {suffix: each[suffix] for suffix in original} == original


def test_open_clips_pipeline_reads_images_and_captions(curated: tuple[Path, dict[str, Members]]) -> None:
    folder, originals = curated
    # The stages of open_clip_train.data.get_wds_dataset without its shuffling.
    pipeline = webdataset.DataPipeline(
        webdataset.SimpleShardList(shards(folder)),
        webdataset.tarfile_to_samples(),
        webdataset.select(lambda each: "txt" in each and any(s in each for s in IMAGES.split(";"))),
        webdataset.decode("pilrgb"),
        webdataset.rename(image=IMAGES, text="txt"),
        webdataset.to_tuple("image", "text"),
    )
    pairs = list(pipeline)
    assert len(pairs) == len(originals)
    assert {image.size for image, _ in pairs} == {(48, 48)}
    assert {text for _, text in pairs} == {each["txt"].decode() for each in originals.values()}


@pytest.mark.slow
def test_open_clip_train_finds_the_number_of_samples(curated: tuple[Path, dict[str, Members]]) -> None:
    data = pytest.importorskip("open_clip_train.data", reason="open_clip's training code is not here")
    folder, originals = curated
    n_samples, n_shards = data.get_dataset_size(str(folder / "{00000..00002}.tar"))
    assert (n_samples, n_shards) == (len(originals), 3)


def test_sizes_add_up_to_the_samples(curated: tuple[Path, dict[str, Members]]) -> None:
    folder, originals = curated
    sizes = json.loads((folder / "sizes.json").read_text())
    assert sorted(sizes) == [Path(shard).name for shard in shards(folder)]
    assert sum(sizes.values()) == len(originals)
    for shard in shards(folder):
        with tarfile.open(shard) as tar:
            keys = {member.name.partition(".")[0] for member in tar}
        assert len(keys) == sizes[Path(shard).name]


def test_shards_lie_as_img2dataset_lays_them(curated: tuple[Path, dict[str, Members]]) -> None:
    folder, originals = curated
    for number, shard in enumerate(map(Path, shards(folder))):
        assert shard.name == f"{number:05d}.tar"
        stats = json.loads((folder / f"{number:05d}_stats.json").read_text())
        rows = pd.read_parquet(shard.with_suffix(".parquet"))
        assert stats["count"] == stats["successes"] == len(rows)
        with tarfile.open(shard) as tar:
            in_tar = list(dict.fromkeys(member.name.partition(".")[0] for member in tar))
        assert list(rows.key) == in_tar == sorted(in_tar)
        assert set(rows.status) == {"success"}
        assert all(key.startswith(f"{number:05d}") for key in rows.key)
        assert [originals[uid]["txt"].decode() for uid in rows.uid] == list(rows.caption)


def test_a_samples_members_stand_side_by_side_with_the_image_first(
    curated: tuple[Path, dict[str, Members]],
) -> None:
    folder, _ = curated
    for shard in shards(folder):
        with tarfile.open(shard) as tar:
            names = [member.name.partition(".") for member in tar]
        keys = [key for key, _, _ in names]
        assert keys == sorted(keys)
        firsts = [names[keys.index(key)][2] for key in dict.fromkeys(keys)]
        assert set(firsts) <= set(FORMATS)
