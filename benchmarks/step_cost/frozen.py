"""What it saves that a frozen image encoder sees each picture once, on a CLIP of ViT-B/16's proportions.

Run from the repository, on Linux: ``OMP_NUM_THREADS=1 python benchmarks/step_cost/frozen.py``. The network has
ViT-B/16's layers, heads, patches and pictures of 224 pixels, random weights and a quarter of its width; the text
encoder is trained. Steps with features and with pixels are timed in turn, their batches' preparation included. Whole
deletions of many pairs run in processes of their own. Writes ``frozen.json`` beside this file. ``--tiny`` shows in
seconds whether it runs, and writes nothing.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

from multidelete import Adapter, PairData, PairDataset, personas, unlearn
from multidelete.core.runtime import peak_bytes
from multidelete.data.request import forget_retain, resolve_request
from multidelete.methods import MultiDelete
from multidelete.methods.base import Job, sample_retain
from multidelete.models import SIZES, adapter_for, choose_trainable, train_tokenizer
from multidelete.models.features import kept_features
from multidelete.models.preflight import check_pairs
from multidelete.training.loop import StepModule
from multidelete.training.plan import MicroBatches, plan_steps

WARM_UP = 2  # rounds that are not counted


@dataclass(frozen=True)
class Scale:
    """Of the network, of what is timed, and of the deletions: people, four pairs each, and pairs to forget."""

    side_px: int = 224
    widths: tuple[int, int] = (192, 128)  # of 768 and 512
    vocabulary: int | None = None  # None: that of the data's captions
    layers: int = 12
    people: int = 60
    rounds: int = 14
    deletions: tuple[tuple[int, int], ...] = ((1250, 1000), (2000, 3000))


TINY = Scale(side_px=32, widths=(48, 32), layers=1, people=10, rounds=4, deletions=((10, 8),))


def main() -> None:
    """Time steps, then the deletions, each in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("deletion", nargs="*", type=int, help="people and pairs to forget, measured in this process")
    asked = parser.parse_args()
    scale = TINY if asked.tiny else Scale()
    if asked.deletion:
        print(json.dumps(deletion(scale, *asked.deletion)))
        return
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}",
        "text-only step": step(scale),
        "one pass over many deleted pairs": [alone(*one) for one in scale.deletions],
    }
    if not asked.tiny:
        Path(__file__).with_name("frozen.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def alone(people: int, forget: int) -> dict[str, float]:
    """A deletion in a process of its own."""
    command = [sys.executable, *sys.argv, str(people), str(forget)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def network(data: PairData, scale: Scale) -> Adapter:
    """A CLIP of random weights."""
    tokenizer = train_tokenizer([pair.text for pair in data.train], SIZES["tiny"])
    vision, text = (
        {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": scale.layers}
        for width in scale.widths
    )
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    config = CLIPConfig(
        text_config={**text, "num_attention_heads": 8, "vocab_size": scale.vocabulary or len(tokenizer), **ends},
        vision_config={**vision, "num_attention_heads": 12, "image_size": scale.side_px, "patch_size": 16},
        projection_dim=scale.widths[1],
    )
    size = {"height": scale.side_px, "width": scale.side_px}
    torch.manual_seed(0)
    return adapter_for(CLIPModel(config), CLIPProcessor(CLIPImageProcessorPil(size=size, crop_size=size), tokenizer))


def step(scale: Scale) -> dict[str, float]:
    """Seconds of a step of 8 pairs to forget and 64 to keep, with features and with pixels kept in memory, in turn."""
    data = personas(people=scale.people, unseen=10, seed=0)
    adapter = network(data, scale)
    choose_trainable(adapter, "text")
    forget, retain = forget_retain(data.train, resolve_request(data, ids=[pair.id for pair in data.train.pairs[:8]]))
    settings = replace(MultiDelete().loop_settings_for(len(forget)), device="cpu")
    job = Job(adapter, data.train, forget, retain, settings, seed=0, holdout=data.splits["val"])
    method, datasets = MultiDelete(), {"forget": forget, "retain": sample_retain(job)}
    seconds: dict[str, list[float]] = {"features": [], "pixels": []}
    module = StepModule(adapter, method, method.reference(job, datasets))
    sizes = {name: len(pairs) for name, pairs in datasets.items()}
    micro = MicroBatches(plan_steps(method.parts, sizes, settings, 0), datasets, adapter, 1)
    with kept_features(adapter, 1.0) as kept:
        check_pairs(adapter, datasets)
        pixels = adapter.images.pixels
        for number in range(scale.rounds):
            for name, images in (("features", kept), ("pixels", pixels)):
                adapter.images = images
                started = time.perf_counter()
                torch.stack(list(module(micro[number % len(micro)]).values())).sum().backward()
                seconds[name].append(time.perf_counter() - started)
                module.zero_grad(set_to_none=True)
        adapter.images = kept
    ratios = [a / b for a, b in zip(seconds["features"][WARM_UP:], seconds["pixels"][WARM_UP:], strict=True)]
    return {
        **{f"{name}_median_s": statistics.median(times[WARM_UP:]) for name, times in seconds.items()},
        "ratio_median": statistics.median(ratios),
        "rounds": len(ratios),
    }


def deletion(scale: Scale, people: int, forget: int) -> dict[str, float]:
    """Seconds and peak memory of one pass over the deleted pairs, and how often pictures were opened."""
    opened: Counter[str] = Counter()
    data = counting(personas(people=people, unseen=40, seed=0), opened)
    adapter = network(data, scale)
    ids = [pair.id for pair in data.train.pairs[:forget]]
    started = time.perf_counter()
    done = unlearn(adapter, data, ids, settings={"passes": 1, "device": "cpu"})
    return {
        "forget": forget,
        "pairs": len(data.train),
        "wall_s": time.perf_counter() - started,
        "reference_s": done.outcome.reference_s,
        "trained_on": done.outcome.pairs_backward,
        "peak_bytes": peak_bytes(torch.device("cpu")),
        "pictures": len(opened),
        "openings_each": max(opened.values()),
    }


def counting(data: PairData, opened: Counter[str]) -> PairData:
    """The same data; every opening of a picture is counted."""

    def of(source: str, image: Callable[[], Image.Image]) -> Callable[[], Image.Image]:
        def load() -> Image.Image:
            opened[source] += 1
            return image()

        return load

    splits = {
        name: PairDataset(
            [replace(p, inputs={**p.inputs, "image": of(p.sources["image"], p.inputs["image"])}) for p in pairs], name
        )
        for name, pairs in data.splits.items()
    }
    return replace(data, splits=splits)


if __name__ == "__main__":
    main()
