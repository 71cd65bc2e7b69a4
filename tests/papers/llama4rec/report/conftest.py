"""Hand-made results of a run."""

import pytest


def result_rows(task, backbone, metric, means, **tests):
    """Rows of Base, IFT and Llama4Rec with the given means; `tests` are keys of Llama4Rec's row."""
    rows = []
    for variant, mean in zip(("base", "ift", "llama4rec"), means, strict=True):
        row = {
            "dataset": "d",
            "protocol": "all",
            "task": task,
            "backbone": backbone,
            "variant": variant,
            "metric": metric,
            "mean": mean,
            "std": 0.01,
            "values": [mean],
            "n_users": 9,
            "published": None,
            "slices": {"history": {"tail": mean}},
        }
        rows.append(row)
    rows[-1] |= {"against": "base", "effect": 1.0, "detectable": 0.02, **tests}
    return rows


def thirds(difference, p):
    """`tails` of a row whose values and gains differ between short and long histories."""
    compared = {"difference": difference, "p": p}
    return {"history": {"level": compared, "gain": compared}}


@pytest.fixture
def llm():
    return {
        "model": "embedded",
        "parameters": 1000,
        "engine": "vllm",
        "tuning_seconds": 120.0,
        "seconds": 60.0,
        "shares": [{"name": "building prompts", "seconds": 120.0, "share": 1.0}],
        "instructions": 5,
        "steps": 7,
        "prompts": 4000,
        "known": 4,
        "rejected": {"no_answer": 3},
        "prompts_per_second": 6.0,
        "tokens_in": 90,
        "tokens_out": 8,
        "refit_seconds": 2.0,
    }


@pytest.fixture
def report(llm):
    """report.json without results."""
    return {
        "schema": "raypipe-report/2",
        "run": {
            "id": "r",
            "dataset": "ml",
            "protocol": "all",
            "seeds": 2,
            "commit": "c0ffee",
            "finished": "2026-11-30 12:00:00 UTC",
            "seconds": 600.0,
            "config": {"seed": 0, "data": {"name": "<ml>"}},
            "versions": {"ray": "2"},
            "machine": {
                "cores": 2,
                "processor": "fast",
                "memory_gib": 24.0,
                "cluster": {"CPU": 2.0},
            },
        },
        "stages": [],
        "results": [],
        "llm": llm,
        "aggregation": [
            {
                "task": "direct",
                "backbone": "mf",
                "ranking": "listwise",
                "alpha_1": 0.1,
                "alpha_2": 0.9,
                "validation": 0.25,
                "mixer": {"b": [1.0, -0.5], "validation": 0.26},
                "learned": None,
            }
        ],
        "data": {"rows read": 1200},
        "audit": {"top-k: pairs in two parts": 0, "late rows, share": 0.5},
    }
