"""New models and their tokenizer."""

from dataclasses import replace

import pytest

from multidelete.core.errors import ConfigError
from multidelete.models import NewModel, new_adapter
from multidelete.models.fresh import PAD, SPECIAL_TOKENS, train_tokenizer
from tests.tiny import SIZE, captions, people


def test_the_same_captions_give_the_same_tokenizer() -> None:
    """Retraining and resuming make the tokenizer anew: it may not depend on the order of a hash map."""
    texts = captions(people(20))
    vocabularies = [train_tokenizer(texts, SIZE).get_vocab() for _ in range(6)]
    assert all(vocabulary == vocabularies[0] for vocabulary in vocabularies)
    assert len(vocabularies[0]) <= SIZE.vocabulary


def test_the_tokenizer_knows_words_and_falls_back_to_characters() -> None:
    tokenizer = train_tokenizer(iter(["A red hat", "a red, red bird; hat"]), SIZE)
    assert tokenizer.convert_ids_to_tokens(tokenizer("A RED hat")["input_ids"]) == ["[CLS]", "a", "red", "hat", "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("rat")["input_ids"]) == ["[CLS]", "r", "##at", "[SEP]"]
    assert "[UNK]" in tokenizer.convert_ids_to_tokens(tokenizer("q")["input_ids"])
    assert tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS) == list(range(5))
    assert tokenizer.pad_token_id == PAD
    assert tokenizer.decode(tokenizer("a red bird")["input_ids"], skip_special_tokens=True) == "a red bird"


@pytest.mark.parametrize("sizes", [((), ()), ((8, 8), (1,))])
def test_a_convolutional_size_needs_stages_with_depths(sizes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    size = replace(SIZE, stages=sizes[0], depths=sizes[1])
    tokenizer = train_tokenizer(captions(people(4)), size)
    with pytest.raises(ConfigError, match="needs one entry or more in stages, and as many in depths"):
        new_adapter("vision-text", NewModel(size=size, image_size=32, tokenizer=tokenizer), seed=0)
