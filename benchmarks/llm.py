"""How much of the engine's speed the pipeline keeps, on the prompts and the LLM of a finished run.

    python -m benchmarks.llm --run runs/toy

It measures, one after the other: vLLM's own `generate` with all prompts in one call, once with
tokens and once with texts; the same prompts through the pipeline (files, Ray Data, engine, files);
and rendering the prompt requests in one process. Beside these it prints the time that the run's own
stage took to build the prompts. The start of the engine is reported apart. Both engines have the
same settings and processes. A machine's speed changes by the minute: run it twice.
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
from typing import Any, NamedTuple

import pandas as pd
import torch

from raypipe.prompts.contract import Style

#: one prompt in so many warms up; the rates are those of the rest
WARM = 10


class Rates(NamedTuple):
    """Prompts per second.

    Args:
        direct: figures of `fed_directly`.
        pipeline: figures of `through_the_pipeline`.
        rendering: rendering in one process.
        stage: the run's own stage that built the prompts.
    """

    direct: dict[str, float]
    pipeline: dict[str, float]
    rendering: float
    stage: float


def newest(run: Path, stage: str) -> Path:
    """The newest artifact of a stage."""
    folders = sorted(run.glob(f"stages/{stage}-{'?' * 12}"), key=lambda path: path.stat().st_mtime)
    if not folders:
        sys.exit(f"{run} has no {stage}: name the output folder of a finished run")
    return folders[-1]


def fed_directly(model: str, prompts: Path) -> dict[str, float]:
    """Start and rates of vLLM in this process, and tokens per prompt."""
    from raypipe.llm.config import EngineConfig
    from raypipe.llm.tokens import tokenize_prompts
    from raypipe.llm.vllm import Engine

    gpu, ours = torch.cuda.is_available(), Engine(model, EngineConfig())
    os.environ |= ours.variables(gpu, os.cpu_count() or 1)
    rows = pd.read_parquet(prompts)
    texts = rows["prompt"].tolist()
    tokens = tokenize_prompts(model, texts, rows["options"].tolist(), ["score"] * len(rows))
    started = time.perf_counter()
    from vllm import LLM, SamplingParams

    engine = LLM(model=model, **ours.settings(gpu))
    start = time.perf_counter() - started
    parameters = []
    for prompt in tokens:
        assert prompt.options is not None
        option_ids = sorted(prompt.options.choices[0])
        parameters.append(
            SamplingParams(
                temperature=0.0, max_tokens=1, logprob_token_ids=option_ids, detokenize=False
            )
        )
    first = len(rows) // WARM

    def rate(inputs: list[Any]) -> float:
        engine.reset_prefix_cache()
        engine.generate(inputs[:first], parameters[:first], use_tqdm=False)
        started = time.perf_counter()
        engine.generate(inputs[first:], parameters[first:], use_tqdm=False)
        return (len(inputs) - first) / (time.perf_counter() - started)

    return {
        "start": start,
        "rate": rate([{"prompt_token_ids": prompt.prompt} for prompt in tokens]),
        "texts": rate(texts),
        "tokens": sum(len(prompt.prompt) for prompt in tokens) / len(tokens),
    }


def through_the_pipeline(model: str, prompts: Path) -> dict[str, float]:
    """Start and rate of the pipeline; the start ends with the first answer."""
    from raypipe.cluster import ray_data, session
    from raypipe.llm.config import EngineConfig
    from raypipe.llm.engine import make_engine

    with session.connected(lambda line: None, False), tempfile.TemporaryDirectory() as folder:
        blocks = ray_data.block_count(ray_data.finished_files(str(prompts.parent)).rows)
        rows = ray_data.read(prompts.parent, 1).repartition(blocks).materialize()
        started = time.time()
        make_engine(model, EngineConfig()).apply(rows).write_parquet(folder)
        answers = ray_data.read_finished(folder, ["finished_at"])
    times = answers["finished_at"].sort_values().to_numpy()
    # at both ends equally many prompts are in progress
    first, last = len(times) // WARM, len(times) - len(times) // WARM
    rate = (last - first) / (times[last - 1] - times[first - 1])
    return {"start": times[0] - started, "rate": rate}


def style_of(run: Path) -> Style:
    """The answer style in the newest report of an output folder, of a run or of experiments."""
    from raypipe.papers.llama4rec.config import Llama4RecConfig

    reports = sorted(run.rglob("report.json"), key=lambda path: path.stat().st_mtime)
    if not reports:
        sys.exit(f"{run} has no report.json: name the output folder of a finished run")
    config = json.loads(reports[-1].read_text())["run"]["config"]
    return Llama4RecConfig.model_validate(config).style


def rendering_rate(run: Path, stage: str, style: Style) -> float:
    """Prompts per second that one process renders."""
    from raypipe.cluster import ray_data
    from raypipe.papers.llama4rec import rendering

    data = newest(run, "data")
    requests = ray_data.read_finished(str(newest(run, stage) / "asks"))
    rendering.render_batch(requests.head(8), data, style)
    started = time.perf_counter()
    rendering.render_batch(requests, data, style)
    return len(requests) / (time.perf_counter() - started)


def stage_rate(run: Path, stage: str) -> float:
    """Prompts per second of the run's own stage, the start of its workers included."""
    manifest = json.loads((newest(run, stage) / "manifest.json").read_text())
    return manifest["facts"]["rows"] / manifest["seconds"]


def measure(run: Path, part: str, file: Path) -> dict[str, float]:
    """Run one measurement in a process of its own, which frees all memory at its end."""
    command = [sys.executable, "-m", "benchmarks.llm", "--run", str(run)]
    command += ["--one", part, "--file", str(file)]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        sys.exit(finished.stderr[-3000:])
    return json.loads(finished.stdout.splitlines()[-1])


def scored_prompts(run: Path, stage: str, number: int) -> pd.DataFrame:
    """The first prompts of a stage that score options."""
    files = sorted((newest(run, stage) / "prompts").glob("*.parquet"))
    rows = pd.concat(map(pd.read_parquet, files))
    rows = rows[rows["mode"] == "score"].head(number)
    if len(rows) < 10 * WARM:
        sys.exit(f"{len(rows)} scored prompts in {stage} of {run} are too few to measure")
    return rows


def show(rates: Rates) -> None:
    """Print the figures."""
    direct, ours = rates.direct, rates.pipeline
    kept, kept_of_texts = ours["rate"] / direct["rate"], ours["rate"] / direct["texts"]
    print(f"engine, tokens        {direct['rate']:8.1f} prompts/s   start {direct['start']:5.1f} s")
    print(f"engine, texts         {direct['texts']:8.1f} prompts/s")
    print(
        f"through the pipeline  {ours['rate']:8.1f} prompts/s   start {ours['start']:5.1f} s   "
        f"{kept:.0%} and {kept_of_texts:.0%} of these"
    )
    print(
        f"rendering             {rates.rendering:8.0f} prompts/s   "
        f"{rates.rendering / ours['rate']:.0f} times as fast as the answers"
    )
    print(
        f"the whole stage       {rates.stage:8.0f} prompts/s   "
        f"{rates.stage / ours['rate']:.0f} times as fast, with the start of its workers"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, default=Path("runs/toy"), help="output folder of a finished run"
    )
    parser.add_argument("--wave", default="llama4rec", help="the wave whose prompts are used")
    parser.add_argument(
        "--prompts", type=int, default=20000, help="number of its scored prompts to use"
    )
    parser.add_argument("--one", choices=["direct", "pipeline"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    run = options.run
    model = str(newest(run, "llm.augmented") / "model")
    if options.one:
        measurement = fed_directly if options.one == "direct" else through_the_pipeline
        print(json.dumps(measurement(model, options.file)))
        return
    stage, style = f"prompts.{options.wave}", style_of(run)
    rows = scored_prompts(run, stage, options.prompts)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.parquet"
        rows.to_parquet(file, index=False)
        direct, pipeline = measure(run, "direct", file), measure(run, "pipeline", file)
    rates = Rates(direct, pipeline, rendering_rate(run, stage, style), stage_rate(run, stage))
    print(f"{len(rows)} prompts of {direct['tokens']:.0f} tokens, wave {options.wave} of {run}")
    show(rates)


if __name__ == "__main__":
    main()
