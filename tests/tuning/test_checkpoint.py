"""Which sources of an LLM are refused before a run."""

import pytest

from raypipe.errors import ConfigError
from raypipe.tuning.checkpoint import check_source


def test_the_embedded_llm_a_hub_id_and_a_whole_folder_pass(models):
    for source in ("embedded", "meta-llama/Llama-2-7b-hf", str(models / "llm")):
        check_source(source)


@pytest.mark.parametrize("source", ["/no/such/folder", "./no/folder", "llama"])
def test_a_folder_that_is_not_there_is_refused(source):
    with pytest.raises(ConfigError, match="there is no LLM folder"):
        check_source(source)


def test_what_a_folder_lacks_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("")
    with pytest.raises(ConfigError, match=r"lacks tokenizer\.json .*, \*\.safetensors"):
        check_source(str(tmp_path))
