"""Peak memory of MultiDelete beside fine-tuning of the same model on as many pairs.

Run from the repository, on Linux: ``python benchmarks/step_cost/memory.py``. Each case runs in a process of its
own, three optimizer steps of the real loop with AdamW. Memory is that of the process: its peak resident set
above its level before anything but model and data is there. Writes ``memory.json`` beside this file. ``--tiny`` shows
in seconds whether it runs, and writes nothing.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

from multidelete import personas, resolve_request
from multidelete.core.settings import LoopSettings
from multidelete.data.request import forget_retain
from multidelete.data.split import draw_request
from multidelete.methods import FineTune, Job, MultiDelete
from multidelete.methods.base import GradientMethod, sample_retain
from multidelete.methods.reference import build_reference
from multidelete.models import SIZES, adapter_for, choose_trainable, train_tokenizer
from multidelete.training.loop import run_loop

FORGET, RETAIN_PER_FORGET = 4, 7  # 32 pairs in a step of either method
CASES = [(method, part) for part in ("all", "text") for method in ("finetune", "multidelete")]


@dataclass(frozen=True)
class Scale:
    """Of the model and its pictures."""

    side_px: int = 128
    width: int = 640
    layers: int = 8


TINY = Scale(side_px=32, width=64, layers=1)


def main() -> None:
    """Measure the case that is named, or each in a process of its own, and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("case", nargs="*", help="method and trained part, measured in this process")
    asked = parser.parse_args()
    if asked.case:
        method, part = asked.case
        own = {"finetune": FineTune(), "multidelete": MultiDelete()}[method]
        print(json.dumps(measure(own, part, TINY if asked.tiny else Scale())))
        return
    measured = {f"{method}, {part}": measured_alone(method, part) for method, part in CASES}
    result = {
        "machine": f"{platform.machine()}, torch {torch.__version__}",
        "cases": measured,
        "ratios": {
            f"{part}: multidelete to finetune": measured[f"multidelete, {part}"]["peak_bytes"]
            / measured[f"finetune, {part}"]["peak_bytes"]
            for part in ("all", "text")
        },
    }
    if not asked.tiny:
        Path(__file__).with_name("memory.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def measured_alone(method: str, part: str) -> dict[str, float]:
    """One case in a process of its own."""
    done = subprocess.run([sys.executable, *sys.argv, method, part], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(method: GradientMethod, part: str, scale: Scale) -> dict[str, float]:
    """Bytes above the loaded model and data: while the original is asked, while training, and the most of both."""
    job = prepared(scale)
    trained = choose_trainable(job.adapter, part)
    level = reset_peak()
    datasets = {"forget": job.forget, "retain": sample_retain(job)}
    asked, reference, asking = method.reference_settings(job), None, 0
    if asked is not None and job.holdout is not None:
        parts = {**datasets, "holdout": job.holdout}
        reference = build_reference(job.adapter, parts, job.train, asked, seed=0)
        asking = status("VmHWM") - level
    reset_peak()
    result = run_loop(job.adapter, method, datasets, settings=job.settings, seed=0, reference=reference)
    training = status("VmHWM") - level
    return {
        "parameters": sum(p.numel() for p in job.adapter.parameters()),
        "trained": sum(p.numel() for name, p in job.adapter.named_parameters() if name in trained),
        "steps": len(result.history),
        "pairs": result.pairs,
        "asking_bytes": asking,
        "training_bytes": training,
        "peak_bytes": max(asking, training),
    }


def prepared(scale: Scale) -> Job:
    """A CLIP of random weights, about 80 M, and generated people."""
    data = personas(people=40, unseen=40, size=scale.side_px, seed=0)
    ids = draw_request(data.train, fraction=0.1, unit="subject", seed=0)
    forget, retain = forget_retain(data.train, resolve_request(data, ids=ids))
    tokenizer = train_tokenizer([str(pair.inputs["text"]) for pair in data.train], SIZES["tiny"])
    shared = {"hidden_size": scale.width, "intermediate_size": 4 * scale.width, "num_hidden_layers": scale.layers}
    shared |= {"num_attention_heads": scale.width // 64}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    config = CLIPConfig(
        text_config={**shared, "vocab_size": len(tokenizer), **ends},
        vision_config={**shared, "image_size": scale.side_px, "patch_size": 16},
        projection_dim=512,
    )
    size = {"height": scale.side_px, "width": scale.side_px}
    processor = CLIPProcessor(CLIPImageProcessorPil(size=size, do_center_crop=False), tokenizer)
    torch.manual_seed(0)
    adapter = adapter_for(CLIPModel(config), processor)
    settings = LoopSettings(passes=0.75, batch_size=FORGET, retain_per_forget=RETAIN_PER_FORGET, device="cpu")
    return Job(adapter, data.train, forget, retain, settings, seed=0, holdout=data.splits["val"])


def reset_peak() -> int:
    """Forget the peak so far, and give the present level in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(name: str) -> int:
    """An entry of ``/proc/self/status``, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"/proc/self/status has no {name}: this needs Linux")
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
