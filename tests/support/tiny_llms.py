"""Tiny LLMs for TRL's trainers, and a crew of one worker."""

import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from raypipe.llm import embedded
from raypipe.llm.config import EmbeddedConfig
from tests.support.processes import free_port

PROMPTS = [f"The user watched film {n}. Profile:" for n in range(16)]


class Crew:
    """One worker, on a GPU where there is one, which keeps a checkpoint after every round."""

    rank, world, device = 0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def __init__(self, folder=None):
        self.folder, self.kept = folder, 0

    def due(self, step):
        return self.folder is not None

    def broadcast_folder(self, folder):
        pass

    def checkpoint(self, write):
        self.kept += 1
        target = self.folder / str(self.kept)
        target.mkdir(parents=True)
        write(target)


@pytest.fixture
def alone(monkeypatch):
    """What Ray Train tells its workers of their group, by which DeepSpeed finds it."""
    for name, value in {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "RANK": 0,
        "LOCAL_RANK": 0,
        "WORLD_SIZE": 1,
    }.items():
        monkeypatch.setenv(name, str(value))
    yield
    assert not is_deepspeed_zero3_enabled(), "the next LLM would be loaded in parts"


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A tiny LLM, and a reward model over it, both untrained."""
    folder = tmp_path_factory.mktemp("models")
    corpus = [*PROMPTS, "User identity: film fan; User interests: golf."]
    embedded.build(
        corpus, [], EmbeddedConfig(hidden_size=32, layers=1, heads=1, pieces=300), 0, folder / "llm"
    )
    torch.manual_seed(0)
    judge = AutoModelForSequenceClassification.from_pretrained(
        folder / "llm", num_labels=1, pad_token_id=3
    )
    judge.save_pretrained(folder / "judge")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy2(folder / "llm" / file, folder / "judge" / file)
    return folder
