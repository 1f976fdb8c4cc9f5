"""What tokenizers keep of deleted texts: names that only they held may stand in the vocabulary as whole tokens."""

import re
from collections.abc import Iterable

from transformers import PreTrainedTokenizerFast

from multidelete.data.pairs import Pair
from multidelete.models.base import Adapter


def tokenizer_of(adapter: Adapter) -> PreTrainedTokenizerFast | None:
    """The tokenizer that stands beside the network; None of an adapter that has none."""
    tokenizer: PreTrainedTokenizerFast | None = getattr(getattr(adapter, "processor", None), "tokenizer", None)
    return tokenizer


def tokens_of_deleted_alone(adapter: Adapter, forget: Iterable[Pair], retain: Iterable[Pair]) -> int:
    """Entries of the vocabulary that are words of the forget pairs' texts, and of no retain pair's text.

    0 of an adapter without a tokenizer, which has no vocabulary.
    """
    tokenizer = tokenizer_of(adapter)
    if tokenizer is None:
        return 0
    alone = {word for pair in forget for word in _words(pair)} & _whole_words(tokenizer)
    for pair in retain:
        if not alone:
            break
        alone -= _words(pair)
    return len(alone)


def _words(pair: Pair) -> set[str]:
    """The words of a pair's text; digits and single letters tell nobody's name."""
    words = re.findall(r"\w+", str(pair.inputs.get("text", "")).lower())
    return {word for word in words if len(word) > 1 and not word.isdigit()}


def _whole_words(tokenizer: PreTrainedTokenizerFast) -> set[str]:
    """Tokens that stand for a word from its beginning: WordPiece, byte-level and sentencepiece marks are taken off."""
    tokens = [token for token in tokenizer.get_vocab() if not token.startswith("##")]
    return {token.lstrip("\u0120\u2581").removesuffix("</w>").lower() for token in tokens}
