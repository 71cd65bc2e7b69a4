"""How much of the engine's speed the pipeline keeps, on the prompts and the LLM of a run that is there.

    python -m benchmarks.llm --run runs/toy

Rates, one after another: the engine fed directly (vLLM's own `generate`, all prompts in one call, first as tokens made before,
then as texts, of which vLLM makes the tokens), the same prompts through the flow of the pipeline (files, Ray Data, the engine,
files), and putting asks into words in one process; beside these what the run's own stage took to build them. Starting the engine
is told apart. The direct engine and the pipeline's have the same settings and run as the same processes. Machines change their
speed by the minute: run it twice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from raypipe.prompts.contract import Style

#: a tenth of the prompts warms up; the rates are those of the rest
WARM = 10


def newest(run: Path, stage: str) -> Path:
    """The newest artifact of a stage."""
    found = sorted(run.glob(f"stages/{stage}-{'?' * 12}"), key=lambda p: p.stat().st_mtime)
    if not found:
        sys.exit(f"{run} has no {stage}: name the output folder of a finished run")
    return found[-1]


def fed_directly(model: str, prompts: Path) -> dict[str, float]:
    """Start and rate of vLLM in this process."""
    from raypipe.llm.config import EngineConfig
    from raypipe.llm.tokens import tokenize_prompts
    from raypipe.llm.vllm import Engine

    gpu, made = torch.cuda.is_available(), Engine(model, EngineConfig())
    os.environ |= made.variables(gpu, os.cpu_count() or 1)
    rows = pd.read_parquet(prompts)
    asked = tokenize_prompts(
        model, rows["prompt"].tolist(), rows["options"].tolist(), ["score"] * len(rows)
    )
    began = time.perf_counter()
    from vllm import LLM, SamplingParams

    engine = LLM(model=model, **made.settings(gpu))
    start = time.perf_counter() - began
    wanted = [
        SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprob_token_ids=sorted(set(a.options)),
            detokenize=False,
        )
        for a in asked
    ]
    first = len(rows) // WARM

    def rate(texts: list[Any]) -> float:
        engine.reset_prefix_cache()
        engine.generate(texts[:first], wanted[:first], use_tqdm=False)
        began = time.perf_counter()
        engine.generate(texts[first:], wanted[first:], use_tqdm=False)
        return (len(texts) - first) / (time.perf_counter() - began)

    return {
        "start": start,
        "rate": rate([{"prompt_token_ids": a.prompt} for a in asked]),
        "texts": rate(rows["prompt"].tolist()),
        "tokens": sum(len(a.prompt) for a in asked) / len(asked),
    }


def through_the_pipeline(model: str, prompts: Path) -> dict[str, float]:
    """Start and rate of the pipeline's flow; the start ends with the first answer."""
    from raypipe.cluster import ray_data, session
    from raypipe.llm.config import EngineConfig
    from raypipe.llm.engine import make_engine

    with session.connected(lambda line: None, False), tempfile.TemporaryDirectory() as folder:
        rows = (
            ray_data.read(prompts.parent, 1)
            .repartition(ray_data.block_count(ray_data.finished_files(str(prompts.parent)).rows))
            .materialize()
        )
        began = time.time()
        make_engine(model, EngineConfig()).apply(rows).write_parquet(folder)
        at = ray_data.read_finished(folder, ["finished_at"])["finished_at"].sort_values().to_numpy()
    first, last = (
        len(at) // WARM,
        len(at) - len(at) // WARM,
    )  # between them as much is under way at the end as at the beginning
    return {"start": at[0] - began, "rate": (last - first) / (at[last - 1] - at[first - 1])}


def style_of(run: Path) -> Style:
    """How answers are written in the newest report of an output folder, be it of a run or of experiments."""
    from raypipe.papers.llama4rec.config import Llama4RecConfig

    reports = sorted(run.rglob("report.json"), key=lambda p: p.stat().st_mtime)
    if not reports:
        sys.exit(f"{run} has no report.json: name the output folder of a finished run")
    return Llama4RecConfig.model_validate(
        json.loads(reports[-1].read_text())["run"]["config"]
    ).style


def wording(run: Path, stage: str, style: Style) -> float:
    """Prompts a second that one process words."""
    from raypipe.cluster import ray_data
    from raypipe.papers.llama4rec import rendering

    data = newest(run, "data")
    asked = ray_data.read_finished(str(newest(run, stage) / "asks"))
    rendering.render_batch(asked.head(8), data, style)
    began = time.perf_counter()
    rendering.render_batch(asked, data, style)
    return len(asked) / (time.perf_counter() - began)


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--run", type=Path, default=Path("runs/toy"), help="output folder of a finished run"
    )
    p.add_argument("--wave", default="llama4rec", help="whose prompts")
    p.add_argument(
        "--prompts", type=int, default=20000, help="how many of them, those that are scored"
    )
    p.add_argument("--one", choices=["direct", "pipeline"], help=argparse.SUPPRESS)
    p.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = p.parse_args()
    model = str(newest(options.run, "llm.augmented") / "model")
    if options.one:
        print(
            json.dumps(
                (fed_directly if options.one == "direct" else through_the_pipeline)(
                    model, options.file
                )
            )
        )
        return
    stage, style = f"prompts.{options.wave}", style_of(options.run)
    rows = pd.concat(
        [
            pd.read_parquet(f)
            for f in sorted((newest(options.run, stage) / "prompts").glob("*.parquet"))
        ]
    )
    rows = rows[rows["mode"] == "score"].head(options.prompts)
    if len(rows) < 10 * WARM:
        sys.exit(f"{len(rows)} scored prompts in {stage} of {options.run} are too few to measure")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.parquet"
        rows.to_parquet(file, index=False)
        got = {}
        for one in ("direct", "pipeline"):  # each in a process of its own, which frees what it took
            command = [
                sys.executable,
                "-m",
                "benchmarks.llm",
                "--run",
                str(options.run),
                "--one",
                one,
                "--file",
                str(file),
            ]
            made = subprocess.run(command, capture_output=True, text=True)
            if made.returncode:
                sys.exit(made.stderr[-3000:])
            got[one] = json.loads(made.stdout.splitlines()[-1])
    direct, ours = got["direct"], got["pipeline"]
    worded = wording(options.run, stage, style)
    print(
        f"{len(rows)} prompts of {direct['tokens']:.0f} tokens, wave {options.wave} of {options.run}"
    )
    print(f"engine fed tokens     {direct['rate']:8.1f} prompts/s   start {direct['start']:5.1f} s")
    print(f"engine fed texts      {direct['texts']:8.1f} prompts/s")
    print(
        f"through the pipeline  {ours['rate']:8.1f} prompts/s   start {ours['start']:5.1f} s   "
        f"{ours['rate'] / direct['rate']:.0%} and {ours['rate'] / direct['texts']:.0%} of these"
    )
    print(
        f"putting into words    {worded:8.0f} prompts/s   {worded / ours['rate']:.0f} times as fast as they are answered"
    )
    made = json.loads((newest(options.run, stage) / "manifest.json").read_text())
    built = made["facts"]["rows"] / made["seconds"]
    print(
        f"the whole stage       {built:8.0f} prompts/s   {built / ours['rate']:.0f} times, the start of its workers included"
    )


if __name__ == "__main__":
    main()
