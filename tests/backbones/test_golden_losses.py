"""The losses of the first epochs for a fixed seed stay as they are in test_golden_losses.json.

A change that moves them is a mistake or a change of the method. After a change of the method, write
the new losses with

    python tests/test_golden_losses.py

and say in the changelog that numbers move.
"""

import json
from pathlib import Path

import pytest

from raypipe.backbones import registry
from raypipe.backbones.fit import fit
from tests.support.backbone_cases import CLOSED, checkerboard, options

FILE = Path(__file__).with_suffix(".json")


TRAINED = [
    (task, name) for task in registry.FOLDERS for name in registry.names(task) if name not in CLOSED
]


#: options whose defaults have moved since the losses were put on record
SETTLED = {
    "sgl": {"layers": 2, "contrast": 0.1, "temperature": 0.2, "init_std": 0.1},
    "autoint": {"ridge": 0.0},
    "ncf": {"hidden": (64, 32)},
    "cl4srec": {"layers": 2, "contrast": 0.1, "temperature": 0.2},
}


def losses(task, name):
    settled = {"negatives": 2} if task == "direct" else {}
    settled |= SETTLED.get(name, {})
    chosen = options(
        task, name, epochs=3, patience=3, dropout=0.2, reg=0.01, **settled
    )  # set here, so that changed defaults move no loss
    result = fit(registry.find(task, name).Model, checkerboard(task), chosen, 11)
    return [line["loss"] for line in result.curve]


@pytest.mark.parametrize("task,name", TRAINED)
def test_losses_equal_the_recorded_ones(task, name):
    assert losses(task, name) == pytest.approx(json.loads(FILE.read_text())[name], rel=1e-4)


if __name__ == "__main__":
    FILE.write_text(
        json.dumps({name: losses(task, name) for task, name in TRAINED}, indent=1) + "\n"
    )
