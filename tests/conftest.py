"""What several tests share: real data where it is present, and no traffic to the hub."""

import atexit
import gc
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
import typer
from filelock import FileLock

from tests.processes import launch_two

# Set before anything imports `datasets` or `huggingface_hub`, which read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads for a handful of captions cost more than they save
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="multidelete-tests-")
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="multidelete-tests-")  # where the key of checkpoints lies
MADE = ["HF_DATASETS_CACHE", "XDG_STATE_HOME"]
if "MULTIDELETE_TEST_MODELS" not in os.environ:  # workers find that of the process that began them
    os.environ["MULTIDELETE_TEST_MODELS"] = tempfile.mkdtemp(prefix="multidelete-tests-")
    MADE.append("MULTIDELETE_TEST_MODELS")
for made in MADE:
    atexit.register(shutil.rmtree, os.environ[made], ignore_errors=True)

# Each full collection walks through a million objects of torch and transformers, of which none goes.
gc.set_threshold(20_000, 20, 50)

# Made anew in each process, and here not at each of a thousand calls, which would take longer than all else of them.
typer.main.get_command = cache(typer.main.get_command)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets: ``MULTIDELETE_DATA``, else ``shared/data`` beside the repository."""
    folder = Path(os.environ.get("MULTIDELETE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set MULTIDELETE_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes found, a folder for each part of `tests.two_processes`: made once for all workers."""
    return _launched(tmp_path_factory, "two")


@pytest.fixture(scope="session")
def more_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of what slow tests need beside."""
    return _launched(tmp_path_factory, "two more", "more")


def _launched(tmp_path_factory: pytest.TempPathFactory, name: str, *arguments: str) -> Path:
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{shared}.lock"):
        if not (shared / "done").exists():
            launch_two("tests.two_processes", shared, *arguments)
            (shared / "done").touch()
    return shared
