import json
from pathlib import Path

import pytest
from PIL import Image

from multidelete.core.errors import ConfigError, DataError, RequestError
from multidelete.data.readers import READERS, load_data
from multidelete.data.request_file import read_request


def test_personas_settings_in_the_spec_win_over_the_seed_argument() -> None:
    from_spec = load_data("personas:people=4,unseen=2,views=1,size=24,seed=9", seed=1)
    from_argument = load_data("personas:people=4,unseen=2,views=1,size=24", seed=9)
    assert len(from_spec.train) == 8
    assert [p.inputs["text"] for p in from_spec.train] == [p.inputs["text"] for p in from_argument.train]


def test_personas_unknown_settings_are_listed() -> None:
    with pytest.raises(ConfigError, match="no setting 'poeple'; it has people, unseen, views, size, seed") as error:
        load_data("personas:poeple=4,views=two")
    assert "views is 'two'; it must be a whole number" in error.value.problems[1]


def test_personas_refuses_columns() -> None:
    with pytest.raises(ConfigError, match="personas reader has no use for columns, image_root"):
        load_data("personas", columns={"text": "caption"}, image_root=Path("x"))


@pytest.mark.parametrize("spec", ["/nowhere/at/all", "./pairs", "pairs.jsonl", "folder:/nowhere/at/all"])
def test_missing_paths_are_named(spec: str) -> None:
    with pytest.raises(DataError, match=spec.removeprefix("folder:")):
        load_data(spec)


def test_misspelt_reader_is_suggested() -> None:
    with pytest.raises(DataError, match=r"no file or folder persona.* Did you mean 'personas'"):
        load_data("persona:people=4")


def test_path_below_an_existing_folder_is_not_taken_for_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no file or folder data/emojis"):
        load_data("data/emojis")


def test_hub_id_that_cannot_be_reached_is_a_data_error() -> None:
    with pytest.raises(DataError, match=r"no file or folder somebody/some-pairs here, .* cannot be loaded"):
        load_data("somebody/some-pairs")


@pytest.mark.parametrize("name", ["x" * 300, "y/" * 3000, "a\0b", "x" * 300 + ".csv"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    for spec in (name, f"folder:{name}", f"karpathy:{name}", f"graph:{name}", f"vqa:{name}", f"pgr:{name}"):
        with pytest.raises(DataError):
            load_data(spec)
    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    rows = [{"image": "p.png", "text": "one"}, {"image": name, "text": "two"}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"image files? (is|are) missing|encoded pictures"):
        load_data(str(tmp_path / "x.jsonl"))
    with pytest.raises(RequestError, match="no request file"):
        read_request(Path(name))


def test_file_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"not a table of pairs; files can be .jsonl, .csv, .tsv, .parquet"):
        load_data(str(tmp_path / "pairs.xlsx"))


def test_every_reader_has_one_line() -> None:
    assert all(line and "\n" not in line for line, _ in READERS.values())
