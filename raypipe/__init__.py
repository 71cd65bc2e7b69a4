"""raypipe: LLM-augmented recommendations on Ray, from an interaction log and item texts to a served model."""

__version__ = "0.1.0"
