"""What the page calls the keys of report.json."""

from __future__ import annotations

BAD_ANSWERS = {
    "neighbour": "another user's profile",
    "several": "two profiles instead of one",
    "identity_only": "interests are missing",
    "repeated": "identity twice, no interests",
    "empty_label": "labels without content",
    "full_stop": "a full stop alone",
}

REINFORCEMENT = {
    "score first": "mean score by the reward model, first round",
    "score last": "mean score by the reward model, last round",
    "kl last": "mean KL divergence from the LLM before, last round",
}

WAVES = {
    "distilled": "user profiles for dialogues",
    "users": "user profiles",
    "items-warm": "profiles of warm items",
    "items-cold": "profiles of cold-start items",
    "sample": "user profiles before RL",
}

TUNING = {
    "llm/base": "building the embedded LLM",
    "llm/distil": "imitating the teacher (distillation)",
    "llm/dialogue": "two-turn dialogues",
    "reward": "reward model",
    "llm/policy": "reinforcement learning",
    "llm/items": "writing item profiles",
}

SNAPSHOTS = {
    "rows": "rows",
    "users": "users",
    "items in both": "items in both snapshots",
    "first items": "items of the first snapshot",
    "first rows": "rows of the first snapshot",
    "second items": "items of the second snapshot",
    "second rows": "rows of the second snapshot",
    "full-shot users": "test users, full-shot",
    "zero-shot users": "test users, zero-shot",
    "zero-shot items": "cold-start items",
    "zero-shot rows": "test rows of cold-start items",
    "validation rows": "validation rows",
    "validation rows of held-out items": "validation rows of items held out completely",
}
