"""A run that is killed at any moment goes on to the same weights; nothing half-made is ever seen."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from multidelete.artifacts.folders import partial_folder
from multidelete.artifacts.manifest import digest_folder
from multidelete.core.errors import CheckpointError, ConfigError
from multidelete.core.settings import LoopSettings, TrainSettings
from multidelete.data.pairs import PairData
from multidelete.methods import FineTune, MultiDelete
from multidelete.unlearning import train, unlearn
from tests.processes import ROOT, own_environment
from tests.tiny import differing, manifest_of, people, subjects_ids, vit_roberta

PEOPLE = 12
KILL_AT_NOTE = "--kill-at-note"
PAUSE_S = 0.05  # in each step of a process that is to be killed
SETTINGS = LoopSettings(passes=8, batch_size=8, checkpoint_steps=2, workers=0, device="cpu")  # 16 steps


def run_unlearn(original: Path, out: Path, *, resume: bool = False, pause_s: float = 0.0) -> None:
    """The run that is killed: finetune, with dropout, of the shared tiny model."""
    data = people(PEOPLE)
    method = SlowFineTune(pause_s) if pause_s else FineTune()
    unlearn(original, data, subjects_ids(data.train, 4), method=method, settings=SETTINGS, out=out, seed=7,
            resume=resume)  # fmt: skip


class SlowFineTune(FineTune):
    """The same method and settings, with a pause in each step that leaves time to kill it."""

    def __init__(self, pause_s: float) -> None:
        super().__init__()
        object.__setattr__(self, "pause_s", pause_s)

    def losses(self, step):  # type: ignore[no-untyped-def]
        time.sleep(self.pause_s)  # type: ignore[attr-defined]
        return super().losses(step)


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(PEOPLE)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, data: PairData) -> Path:
    """A folder with a model whose training draws random numbers in every step (dropout)."""
    folder = tmp_path_factory.mktemp("original") / "model"
    vit_roberta(data, dropout=0.2).save(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run_unlearn(original, out)
    return out


def start(original: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """A real process of its own that goes on with the run to ``out``."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.test_resume", str(original), str(out), *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=own_environment(), cwd=ROOT,
    )  # fmt: skip


def checkpoints(out: Path) -> list[str]:
    return sorted(path.name for path in (partial_folder(out) / "work").glob("checkpoint-*.safetensors"))


def kill_once(process: subprocess.Popen[bytes], out: Path, *, after: str) -> None:
    """Wait for a checkpoint that is at least as new, then kill the process, which cannot know."""
    end = time.monotonic() + 120
    while not any(name >= after for name in checkpoints(out)):
        assert process.poll() is None, process.stderr and process.stderr.read().decode()[-3000:]
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_killed_three_times_ends_with_the_same_weights(
    original: Path, undisturbed: Path, tmp_path: Path, data: PairData
) -> None:
    out = tmp_path / "out"
    before = digest_folder(original)
    reached: list[str] = []
    for step in (2, 6, 12):
        kill_once(start(original, out), out, after=f"checkpoint-{step:08d}")
        reached.append(checkpoints(out)[-1])
        assert not out.exists()
    assert reached == sorted(set(reached))
    assert reached[-1] < "checkpoint-00000016"

    with pytest.raises(CheckpointError, match=r"an earlier run to .*out did not end.*Give --resume to go on"):
        run_unlearn(original, out)
    with pytest.raises(ConfigError, match=r"belongs to a run with another model, data, request or settings"):
        unlearn(original, data, subjects_ids(data.train, 4), method=FineTune(), settings=SETTINGS, out=out, seed=8,
                resume=True)  # fmt: skip
    assert checkpoints(out)[-1] == reached[-1]  # what a refused run leaves as it is
    (partial_folder(out) / "work" / "checkpoint-00000014.safetensors.new").write_bytes(b"half")  # killed while writing
    (partial_folder(out) / ".tmpXXXX").write_bytes(b"half")  # as safetensors leaves it

    run_unlearn(original, out, resume=True)
    first, second = (load_file(folder / "model.safetensors") for folder in (undisturbed, out))
    assert differing(first, second) == []
    assert {path.name for path in out.iterdir()} == {path.name for path in undisturbed.iterdir()}
    assert not partial_folder(out).exists()
    assert digest_folder(original) == before
    whole, resumed = manifest_of(undisturbed), manifest_of(out)
    assert whole is not None
    assert resumed is not None
    assert resumed["history"] == whole["history"]
    assert resumed["cost"]["pairs_backward"] == whole["cost"]["pairs_backward"]  # type: ignore[index]
    assert resumed["cost"]["wall_s"] > 12 * PAUSE_S  # type: ignore[index]  # the killed processes' steps count too


def test_the_undisturbed_run_changed_the_model(original: Path, undisturbed: Path) -> None:
    first, second = (load_file(folder / "model.safetensors") for folder in (original, undisturbed))
    assert len(differing(first, second)) > len(first) / 2


class Interrupted(KeyboardInterrupt):
    """Stops a run within this process."""


def interrupted(run, after: str, out: Path) -> None:  # type: ignore[no-untyped-def]
    """Run until a checkpoint of this name is there, then stop as Ctrl-C does."""

    def trace(frame, event, _):  # type: ignore[no-untyped-def]
        if event == "call" and frame.f_code.co_name == "losses" and any(n >= after for n in checkpoints(out)):
            raise Interrupted
        return

    sys.settrace(trace)
    try:
        with pytest.raises(Interrupted):
            run()
    finally:
        sys.settrace(None)


def test_training_goes_on_after_an_interrupt(tmp_path: Path, data: PairData) -> None:
    """The tokenizer, the initial weights, the order of the pairs and the optimizer are the same again."""
    settings = LoopSettings(passes=3, batch_size=12, checkpoint_steps=2, lr=1e-3, device="cpu")
    model = TrainSettings(family="vision-text", size="tiny", image_size=32)

    def run(out: Path, *, resume: bool = False) -> None:
        train(data, out, start=model, settings=settings, seed=1, resume=resume)

    run(tmp_path / "whole")
    interrupted(lambda: run(tmp_path / "cut"), "checkpoint-00000004", tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    run(tmp_path / "cut", resume=True)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert differing(first, second) == []
    assert (tmp_path / "whole" / "tokenizer.json").read_bytes() == (tmp_path / "cut" / "tokenizer.json").read_bytes()


def test_the_cache_of_the_original_outlives_an_interrupt(original: Path, tmp_path: Path, data: PairData) -> None:
    """MultiDelete compares with the original, which a resumed run no longer has in memory."""

    def run(out: Path, *, resume: bool = False) -> None:
        unlearn(original, data, subjects_ids(data.train, 4), method=MultiDelete(), settings=SETTINGS, out=out,
                resume=resume)  # fmt: skip

    run(tmp_path / "whole")
    interrupted(lambda: run(tmp_path / "cut"), "checkpoint-00000006", tmp_path / "cut")
    caches = list((partial_folder(tmp_path / "cut") / "work").glob("reference-*.safetensors"))
    assert len(caches) == 1
    run(tmp_path / "cut", resume=True)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert differing(first, second) == []


def test_resuming_refuses_another_model_at_the_same_place(original: Path, tmp_path: Path, data: PairData) -> None:
    moving = tmp_path / "model"
    vit_roberta(data, dropout=0.2).save(moving)
    out = tmp_path / "out"
    interrupted(lambda: run_unlearn(moving, out), "checkpoint-00000002", out)
    vit_roberta(data, seed=1, dropout=0.2).save(moving)
    with pytest.raises(ConfigError, match=r"another model, data, request or settings"):
        run_unlearn(moving, out, resume=True)
    run_in_memory = vit_roberta(data, seed=2)
    with pytest.raises(ConfigError, match=r"another model, data, request or settings"):
        unlearn(run_in_memory, data, subjects_ids(data.train, 4), method=FineTune(), settings=SETTINGS, out=out,
                seed=7, resume=True)  # fmt: skip


@pytest.mark.slow  # other kills, and interrupts, are tried in every run
def test_a_process_killed_while_it_notes_which_run_it_is_can_be_resumed(
    original: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Half a note would be of another run, and the folder could never be resumed."""
    process = start(original, tmp_path / "out", KILL_AT_NOTE)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    work = partial_folder(tmp_path / "out") / "work"
    assert not (work / "run").exists()
    assert list(work.glob("run.*"))
    run_unlearn(original, tmp_path / "out", resume=True)
    first, second = (load_file(folder / "model.safetensors") for folder in (undisturbed, tmp_path / "out"))
    assert differing(first, second) == []


def test_nothing_to_resume_starts_from_the_beginning(original: Path, undisturbed: Path, tmp_path: Path) -> None:
    run_unlearn(original, tmp_path / "out", resume=True)
    first, second = (load_file(folder / "model.safetensors") for folder in (undisturbed, tmp_path / "out"))
    assert differing(first, second) == []


def kill_at_note(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook of the interpreter: dies where the note of the run, written, is about to get its name."""
    if event == "os.rename" and Path(str(arguments[1])).parts[-2:] == ("work", "run"):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if KILL_AT_NOTE in sys.argv:
        sys.addaudithook(kill_at_note)
    run_unlearn(Path(sys.argv[1]), Path(sys.argv[2]), resume=True, pause_s=PAUSE_S)
