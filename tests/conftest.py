"""What several tests share: real data where it is present, and no traffic to the hub."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Set before anything imports `datasets` or `huggingface_hub`, which read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="multidelete-tests-")
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="multidelete-tests-")  # where the key of checkpoints lies
for made in ("HF_DATASETS_CACHE", "XDG_STATE_HOME"):
    atexit.register(shutil.rmtree, os.environ[made], ignore_errors=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets: ``MULTIDELETE_DATA``, else ``shared/data`` beside the repository."""
    folder = Path(os.environ.get("MULTIDELETE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set MULTIDELETE_DATA to its folder")
    return folder
