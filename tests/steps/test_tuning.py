"""Examples that an LLM cannot read whole."""

import pytest

from raypipe.errors import ConfigError
from raypipe.steps.tuning import refuse_long


def test_a_training_of_which_most_examples_are_too_long_is_refused():
    refuse_long([5, 5, 90], 64, "llm/dialogue")  # some are left out, and told
    with pytest.raises(
        ConfigError,
        match=r"2 of 3 examples are longer than max_length = 64 tokens(?s:.)*longest has 91",
    ):
        refuse_long([5, 90, 91], 64, "llm/dialogue")
