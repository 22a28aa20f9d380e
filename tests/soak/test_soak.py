"""An hour of scheduled ticks with shards arriving, workers dying and disks filling: nothing is lost."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.soak import soak


@pytest.mark.soak
@pytest.mark.timeout(2 * 3600)
@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("unshare") is None, reason="needs Linux's mount namespaces"
)
def test_an_hour_of_schedules_loses_nothing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        soak.main(["--minutes", "60", "--report", str(tmp_path / "report.json")])
    assert ended.value.code == 0
    assert json.loads((tmp_path / "report.json").read_text())["doubled ticks"] == []
