"""On a GPU: the same vectors, clusters, duplicates and decisions as on the CPU, to float32's rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from filters.clusters import assign, normalised, spherical_kmeans
from filters.density import allocate, between_clusters
from filters.semantic_duplicates import nearest_earlier, nearest_of
from scoring.encoder import Encoder
from scoring.encoder_spec import EncoderSpec
from tests.making import picture, write_encoder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def on_cpu(step: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(faiss, "get_num_gpus", lambda: 0)
        return step()


def blobs(n: int, d: int = 64) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, d))
    return normalised(centres[rng.integers(0, 60, n)] + 0.7 * rng.normal(size=(n, d))).astype(np.float16)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_assignment_is_the_cpus(dtype: type) -> None:
    vectors = blobs(70_000).astype(dtype)
    centroids = normalised(blobs(300).astype(np.float32) + 0.01)
    gpu, cpu = assign(vectors, centroids), on_cpu(lambda: assign(vectors, centroids))
    np.testing.assert_allclose(gpu[1], cpu[1], atol=2e-6)
    products = vectors[gpu[0] != cpu[0]].astype(np.float64) @ centroids.T.astype(np.float64)
    assert len(products) < 30  # only where two are as good as equally near
    np.testing.assert_allclose(np.sort(products, 1)[:, -1], np.sort(products, 1)[:, -2], atol=2e-6)


def test_kmeans_comes_as_near() -> None:
    sample = blobs(30_000).astype(np.float32)
    gpu = spherical_kmeans(sample, 60, seed=3).similarity[-1]
    cpu = on_cpu(lambda: spherical_kmeans(sample, 60, seed=3)).similarity[-1]
    assert gpu == pytest.approx(cpu, rel=1e-3)


def test_the_same_quotas_from_the_same_centroids() -> None:
    vectors, centroids = blobs(50_000), spherical_kmeans(blobs(20_000).astype(np.float32), 40).centroids
    quotas = []
    for nearest, similarity in (assign(vectors, centroids), on_cpu(lambda: assign(vectors, centroids))):
        sizes = np.bincount(nearest, minlength=40)
        intra = np.bincount(nearest, 1 - similarity.astype(float), 40) / sizes
        quotas.append(allocate(between_clusters(centroids, sizes), intra, sizes, 15_000).quota)
    assert np.abs(quotas[0] - quotas[1]).sum() <= 4


@pytest.mark.parametrize("n", [1, 50, 20_000])
def test_duplicates_are_the_cpus(n: int) -> None:
    vectors = blobs(n)
    vectors[n // 2 :] = vectors[: n - n // 2]  # exact copies: the first of equals is named
    gpu, cpu = nearest_earlier(vectors), on_cpu(lambda: nearest_earlier(vectors))
    np.testing.assert_allclose(gpu.similarity[1:], cpu.similarity[1:], atol=2e-6)
    differing = gpu.place != cpu.place
    assert differing.sum() <= n // 1000
    limit = np.random.default_rng(1).integers(0, n + 1, 100)
    queries = blobs(100)
    some, same = nearest_of(queries, vectors, limit), on_cpu(lambda: nearest_of(queries, vectors, limit))
    np.testing.assert_allclose(some.similarity, same.similarity, atol=2e-6)


def test_vectors_of_images_and_captions_are_the_cpus(tmp_path: Path) -> None:
    pairs = [(picture(n, side=40 + n), f"picture number {n}") for n in range(40)]
    pairs[7] = (b"no image", "broken")
    model = write_encoder(tmp_path)
    gpu = Encoder.load(EncoderSpec(model=model, batch_size=16, device="cuda", decoders=2)).encode(pairs)
    cpu = Encoder.load(EncoderSpec(model=model, batch_size=16, device="cpu")).encode(pairs)
    assert gpu.problems == cpu.problems
    assert gpu.problems[7] is not None
    np.testing.assert_allclose(gpu.image.astype(np.float32), cpu.image.astype(np.float32), atol=4e-3)
    np.testing.assert_allclose(gpu.text.astype(np.float32), cpu.text.astype(np.float32), atol=4e-3)
