"""open_clip's training folders, as it writes them with and without a numbered results file."""

import json

import pytest

from scaling_laws import RunsError, read_openclip_run

PARAMETERS = "batch_size: 512\nepochs: 5\nmodel: ViT-B-32\nname: run\nseed: 3\ntrain_num_samples: 12800000\n"


def write_run(folder, *, numbered=True, log=True, rows=((1, 0.02), (5, 0.0508))):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "params.txt").write_text(PARAMETERS)
    lines = []
    for epoch, accuracy in rows:
        metrics = {"imagenet-zeroshot-val-top1": accuracy, "imagenet-zeroshot-val-top5": 2 * accuracy}
        lines.append(json.dumps(metrics | ({"epoch": epoch} if numbered else {})))
    (folder / "checkpoints" / "results.jsonl").write_text("\n".join(lines) + "\n")
    if log:
        text = "2024-01-01,00:00:00 | INFO | Train Epoch: 0 [    4096/12800512 (0%)] Data (t): 0.1\n"
        for epoch, accuracy in rows:
            text += (
                f"2024-01-01,01:00:00 | INFO | Eval Epoch: {epoch} "
                f"imagenet-zeroshot-val-top1: {accuracy:.4f}\t"
                f"imagenet-zeroshot-val-top5: {2 * accuracy:.4f}\n"
            )
        (folder / "out.log").write_text(text)
    return folder


@pytest.mark.parametrize("numbered", [True, False])
def test_the_last_evaluation_becomes_one_run(tmp_path, numbered):
    runs = read_openclip_run(write_run(tmp_path / "run", numbered=numbered), "clip30", 3.8e6)
    assert len(runs) == 1
    row = runs.iloc[0]
    assert (row["pool"], row["pool_size"], row["model"], row["seed"]) == ("clip30", 3.8e6, "ViT-B-32", 3)
    assert row["samples_seen"] == 5 * 12800512
    assert row["error"] == pytest.approx(1 - 0.0508)


def test_without_progress_lines_the_asked_samples_count(tmp_path):
    runs = read_openclip_run(write_run(tmp_path / "run", log=False), "p", 1e6)
    assert runs.iloc[0]["samples_seen"] == 5 * 12800000


def test_intermediate_evaluations_come_only_when_asked_for(tmp_path):
    runs = read_openclip_run(write_run(tmp_path / "run"), "p", 1e6, final_only=False)
    assert runs["epoch"].tolist() == [1, 5]


def test_a_restarted_run_keeps_the_later_evaluation_of_an_epoch(tmp_path):
    rows = ((1, 0.01), (2, 0.02), (2, 0.03))
    runs = read_openclip_run(write_run(tmp_path / "run", rows=rows), "p", 1e6, final_only=False)
    assert runs["error"].tolist() == pytest.approx([0.99, 0.97])


def test_other_metrics_can_be_read(tmp_path):
    runs = read_openclip_run(write_run(tmp_path / "run"), "p", 1e6, "imagenet-zeroshot-val-top5")
    assert runs.iloc[0]["error"] == pytest.approx(1 - 0.1016)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(RunsError, match=r"no params\.txt"):
        read_openclip_run(tmp_path, "p", 1e6)
    run = write_run(tmp_path / "run")
    with pytest.raises(RunsError, match="no evaluation reports 'flickr'"):
        read_openclip_run(run, "p", 1e6, "flickr")
    (run / "checkpoints" / "results.jsonl").write_text('{"epoch": 1, "imagenet-zero')
    with pytest.raises(RunsError, match="not JSON"):
        read_openclip_run(run, "p", 1e6)
    (run / "params.txt").write_text("model: ViT-B-32\n")
    (run / "out.log").write_text("")
    with pytest.raises(RunsError, match="how many samples"):
        read_openclip_run(run, "p", 1e6)
