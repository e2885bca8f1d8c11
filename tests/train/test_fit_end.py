"""What a fit does before and after its worker group. Without Ray."""

from hybridtune.train import fit as fits


def test_what_killed_worker_groups_left_is_removed(tmp_path):
    (tmp_path / ".workers-0123abcd" / "worker").mkdir(parents=True)
    (tmp_path / "0000").mkdir()
    fits.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["0000"]
