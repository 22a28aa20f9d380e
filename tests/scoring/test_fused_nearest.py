"""The GPU's kernel for the most similar of many, run by Triton's interpreter where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

SCRIPT = """
import torch
from scoring.fused_nearest import Blocks, nearest

torch.manual_seed(0)
blocks = Blocks(16, 32, 16, 4, 2)


def unit(n, d):
    return torch.nn.functional.normalize(torch.randn(n, d), dim=1)


def expected(rows, columns, limit):
    product = rows.double() @ columns.double().T
    product.masked_fill_(torch.arange(len(columns)) >= limit[:, None], -torch.inf)
    best = product.max(1)
    return best.values.float(), torch.where(limit > 0, best.indices, -1)


for n, m, d in [(1, 1, 8), (50, 70, 24), (33, 100, 40)]:
    rows, columns = unit(n, d).half(), unit(m, d)
    for case in (columns, columns.half()):
        for limit in (None, torch.randint(0, m + 1, (n,), dtype=torch.int32)):
            value, place = nearest(rows, case, limit, blocks)
            every = torch.full((n,), m, dtype=torch.int32)
            wanted, where = expected(rows, case, every if limit is None else limit)
            assert torch.allclose(value, wanted, atol=1e-6), (n, m, d)
            assert torch.equal(place, where), (n, m, d)

near = unit(1, 24).repeat(64, 1) + 1e-5 * torch.randn(64, 24)  # float16 can't tell these columns apart
near = torch.nn.functional.normalize(near, dim=1)
rows = unit(40, 24).half()
wanted = (rows.float() @ near.T).argmax(1)
assert not torch.equal((rows.float() @ near.half().float().T).argmax(1), wanted)
value, place = nearest(rows, near, None, blocks)
assert torch.equal(place, wanted)

twice = unit(20, 8).half().repeat(2, 1)
value, place = nearest(twice, twice, torch.arange(40, dtype=torch.int32), blocks)
assert place[20:].tolist() == list(range(20)) and place[0] == -1
"""


@pytest.mark.slow
def test_it_finds_what_the_whole_matrix_holds() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
