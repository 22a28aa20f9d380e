"""Every notebook runs from top to bottom, and is committed small and without traces of a machine."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[2]
TABLES = ROOT.parent / "shared" / "reference" / "data"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 300_000


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


@pytest.fixture
def execute(tmp_path_factory, monkeypatch):
    """Run a notebook in a folder, with this checkout's packages and no user's IPython settings."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))

    def run(notebook, folder):
        content = nbformat.read(notebook, as_version=4)
        place = {"metadata": {"path": str(folder)}}
        NotebookClient(content, timeout=500, kernel_name="python3", resources=place).execute()

    return run


def needs_tables(notebook):
    return "shared/reference/data" in notebook.read_text()


def test_all_five_are_here():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.slow
def test_runs_from_top_to_bottom(notebook, execute):
    if needs_tables(notebook) and not TABLES.is_dir():
        pytest.skip("the run tables (shared/reference/data) are not beside this checkout")
    execute(notebook, notebook.parent)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["02_real_clip_runs", "03_chinchilla_and_data_constrained"])
def test_says_what_is_missing_without_the_tables(name, tmp_path, execute):
    with pytest.raises(CellExecutionError, match=r"is not in shared/reference/data beside this checkout"):
        execute(ROOT / "notebooks" / f"{name}.ipynb", tmp_path)


def test_is_committed_with_its_plots_and_no_failure(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_is_small_and_names_no_machine(notebook):
    text = notebook.read_text()
    assert len(text.encode()) < LARGEST
    readable = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not re.search(r"(?<![\w./])/(?:work|home|root|tmp|Users|usr|var)/", readable)


def test_opens_with_a_title_and_keeps_its_cells_short(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    assert cells[0].source.startswith("# ")
    assert max(len(cell.source.splitlines()) for cell in cells) <= 45
    assert len(cells) <= 25
