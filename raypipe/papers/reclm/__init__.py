"""RecLM: an LLM writes profiles of users and items, by which backbones score items never seen in training."""
