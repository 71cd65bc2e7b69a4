"""RecLM: an LLM writes profiles of users and items; with them, backbones score cold-start items."""
