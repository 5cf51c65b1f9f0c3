"""`sweeps.storage.folder`: all files of a sweep, except its record, are in one folder."""

from pathlib import Path

from sweeps.storage.folder import SweepFolder


def test_every_file_of_a_sweep_is_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = SweepFolder("a")
    assert folder.path == tmp_path / "runs" / "a"
    for path in (folder.checkpoints, folder.ray, folder.best, folder.front):
        assert path.is_relative_to(folder.path)
        assert path.is_absolute()  # workers run in another working directory
    assert SweepFolder("a", tmp_path / "elsewhere").path == tmp_path / "elsewhere" / "a"


def test_only_checkpoint_files_count_as_checkpoints(tmp_path):
    folder = SweepFolder("a", tmp_path)
    assert not folder.has_checkpoints
    folder.checkpoints.mkdir(parents=True)
    Path(folder.checkpoints, "notes.txt").touch()
    assert not folder.has_checkpoints
    Path(folder.checkpoints, "trial-00000.pt").touch()
    assert folder.has_checkpoints
