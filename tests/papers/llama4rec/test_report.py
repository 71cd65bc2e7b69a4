"""The sheets of the report."""

import pytest

from raypipe.papers.llama4rec.report import result_tables, text


def test_sheets_have_the_papers_layout_and_stars_are_earned():
    def rows(backbone, task, metric, base, ift, ours, p):
        common = {
            "dataset": "d",
            "protocol": "all",
            "task": task,
            "backbone": backbone,
            "metric": metric,
            "std": 0.01,
            "n_users": 9,
            "published": 0.5 if ours == 0.3 else None,
            "slices": {"history": {"tail": base}},
        }
        tails = {
            "history": {
                kind: {"difference": d, "p": p} for kind, d in (("level", 0.1), ("gain", -0.2))
            }
        }
        common |= {"tails": tails} if backbone == "mf" else {}
        ours_row = {
            "variant": "llama4rec",
            "mean": ours,
            "against": "base",
            "p": p,
            "effect": 1.0,
            "detectable": 0.02,
        }
        ours_row |= {"oracle": 0.8} if task == "direct" else {}
        return [
            {**common, **r}
            for r in ({"variant": "base", "mean": base}, {"variant": "ift", "mean": ift}, ours_row)
        ]

    measured = rows("mf", "direct", "N@5", 0.2, 0.1, 0.3, 0.01)
    measured.insert(2, {**measured[0], "variant": "wo_pa", "mean": 0.35})
    measured += rows("light_gcn", "direct", "N@5", 0.4, 0.1, 0.3, 0.001)
    measured += rows("deepfm", "rating", "RMSE", 1.0, 1.2, 0.9, 0.04)
    direct, rating = result_tables.sheets(measured)
    assert [g["backbone"] for g in direct["groups"]] == ["MF", "LightGCN"] and rating[
        "metrics"
    ] == ["RMSE"]
    mf, light_gcn = direct["groups"]
    assert (
        mf["p"] == [pytest.approx(0.02)]
        and mf["gain"] == [pytest.approx(0.5)]
        and rating["groups"][0]["gain"] == [pytest.approx(0.1)]
    )
    ours = [g["lines"][-1]["cells"][0] for g in (mf, light_gcn, rating["groups"][0])]
    assert [c["best"] for c in ours] == [False, False, True]
    assert [c["star"] for c in ours] == [True, False, True], (
        "earned over the baselines, whatever an ablation has"
    )
    assert direct["gain"] == pytest.approx((0.5 - 0.25) / 2) and direct["claimed"] == 0.1465
    assert mf["oracle"] == 0.8 and rating["groups"][0]["oracle"] is None
    assert mf["slices"] == {"length of history": {"tail": (0.2, 0.2)}}
    told = {
        name: (d, pytest.approx(0.03)) for name, d in (("Base", 0.1), ("IFT", 0.1), ("gain", -0.2))
    }  # Holm: three times 0.01
    assert (
        mf["tails"] == {"length of history": told}
        and light_gcn["tails"] == {}
        and direct["tails"] == list(told)
    )
    run = {
        "dataset": "d",
        "protocol": "all",
        "seeds": 2,
        "commit": "c",
        "finished": "now",
        "versions": {"ray": "2"},
        "machine": {"cores": 2, "processor": "fast", "memory_gib": 24.0},
    }
    weight = {
        "task": "direct",
        "backbone": "mf",
        "ranking": "listwise",
        "alpha_1": 0.1,
        "alpha_2": 0.9,
        "validation": 0.25,
    }
    llm = {
        "model": "embedded",
        "parameters": 1000,
        "engine": "vllm",
        "tuning_seconds": 9.0,
        "instructions": 5,
        "steps": 7,
        "prompts": 40,
        "known": 4,
        "rejected": {"no_answer": 3},
        "prompts_per_second": 6.0,
        "tokens_in": 90,
        "tokens_out": 8,
        "refit_seconds": 2.0,
    }
    page = text.markdown([direct, rating], {"run": run, "aggregation": [weight], "llm": llm})
    assert (
        "| MF | Llama4Rec | 0.3000 ± 0.0100* (0.5000) |" in page and "| | gain | +50.0% |" in page
    )
    assert (
        "| | best order of the same candidates | 0.8000 |" in page
        and "Mean gain: +12.5%. The paper claims +14.65%" in page
    )
    assert "| | effect | +1.00 |" in page
    assert "| MF | length of history | 0.2000 → 0.2000 | | | +0.1000 (p 0.030) |" in page
    assert (
        "| direct | mf | listwise | 0.1 | 0.9 | 0.2500 |" in page
        and "| rejected answers | no_answer: 3 |" in page
    )
    shown = text.summary([direct, rating])
    assert "direct / MF (9 users)" in shown and "  gain            +50.0%" in shown
