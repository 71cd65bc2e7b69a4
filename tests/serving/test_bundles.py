"""Which bundle is served."""

import os

from raypipe.serving.bundles import newest_bundle


def test_the_named_bundle_comes_first_then_the_newest_of_the_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("RAYPIPE_BUNDLE", raising=False)
    assert newest_bundle(tmp_path) == tmp_path / "runs" / "toy" / "bundle", "to name in an error"
    for seconds, run in ((3, "b"), (9, "a"), (6, "c")):
        folder = tmp_path / "runs" / run / "bundle"
        folder.mkdir(parents=True)
        (folder / "bundle.json").write_text("{}")
        os.utime(folder / "bundle.json", (seconds, seconds))
    assert newest_bundle(tmp_path) == tmp_path / "runs" / "a" / "bundle"
    monkeypatch.setenv("RAYPIPE_BUNDLE", "elsewhere")
    assert str(newest_bundle(tmp_path)) == "elsewhere"
