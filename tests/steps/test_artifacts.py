"""Which LLM a stage left, and files that are known by their content."""

import json

from raypipe.steps.artifacts import file_hashes, llm_path


def test_a_stage_holds_its_llm_or_names_it(tmp_path):
    assert llm_path(tmp_path) == str(tmp_path / "model")
    (tmp_path / "source.json").write_text(json.dumps({"model": "org/llm-1b"}))
    assert llm_path(tmp_path) == "org/llm-1b"


def test_a_hash_follows_the_content_of_a_file(tmp_path):
    (tmp_path / "b").write_text("same")
    (tmp_path / "a").write_text("same")
    (tmp_path / "folder").mkdir()
    first = file_hashes(tmp_path)
    assert [name for name, _ in first] == ["a", "b"] and first[0][1] == first[1][1]
    (tmp_path / "a").write_text("other")
    assert file_hashes(tmp_path)[0] != first[0] and file_hashes(tmp_path)[1] == first[1]
