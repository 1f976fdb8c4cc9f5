"""What a frozen encoder gives of each picture, computed once and kept.

Where nothing that a picture goes through alone is trained, its part of the forward pass is the same in every step.
It is computed when the pictures are checked, one opening for each, and batches then hold it in the place of pixels.

Shape suffixes: N pictures.
"""

import logging
import mmap
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import get_worker_info

from multidelete.core.foreign import LIBRARY_ERRORS
from multidelete.core.settings import GIB
from multidelete.data.collate import CACHE_BYTES, ImagePreparer
from multidelete.data.pairs import Pair, members
from multidelete.models.base import Adapter, PicturePart, evaluating
from multidelete.models.checkpoint import weights_digest

logger = logging.getLogger(__name__)

BLOCK, TOGETHER = 64, 32  # pictures in one block of memory or file; in one forward pass
_PLACE = "features-"  # of files in a run's work folder


class FeatureStore:
    """Rows by source, in memory up to a bound, then in files that are mapped into memory, up to a second bound.

    Args:
        bytes_in_all: Most that is kept; 0 keeps nothing.
        bytes_in_memory: How much of it may lie in memory.
        folder: Where the files are; they have no names of pictures and go with the store.
    """

    def __init__(self, bytes_in_all: int, bytes_in_memory: int, folder: Path) -> None:
        self.free_bytes, self.free_memory = bytes_in_all, min(bytes_in_all, bytes_in_memory)
        self.folder = folder
        self.places: dict[str, int] = {}
        self.blocks: list[dict[str, Tensor]] = []
        self.left_out: set[str] = set()

    def __deepcopy__(self, _: object) -> "FeatureStore":
        """Copies of a model share what is kept."""
        return self

    def __contains__(self, source: str) -> bool:
        return source in self.places

    def put(self, sources: Sequence[str], rows: Mapping[str, Tensor]) -> None:
        """Keep the rows (N, ...) of N new sources, as far as there is room."""
        cpu = {name: tensor.detach().to("cpu") for name, tensor in rows.items()}
        for number, source in enumerate(sources):
            place = len(self.places)
            if place == len(self.blocks) * BLOCK and not self._grow(cpu):
                self.left_out.add(source)
                continue
            for name, tensor in cpu.items():
                self.blocks[place // BLOCK][name][place % BLOCK] = tensor[number]
            self.places[source] = place

    def rows(self, sources: Sequence[str]) -> dict[str, Tensor]:
        """The rows of sources that are all kept, (N, ...) by name."""
        at = [divmod(self.places[source], BLOCK) for source in sources]
        return {name: torch.stack([self.blocks[b][name][i] for b, i in at]) for name in self.blocks[at[0][0]]}

    def _grow(self, like: Mapping[str, Tensor]) -> bool:
        """Room for another block; False where there is none."""
        shapes = {name: (BLOCK, *tensor.shape[1:]) for name, tensor in like.items()}
        size = sum(prod(shape) * like[name].element_size() for name, shape in shapes.items())
        if size > self.free_bytes:
            return False
        if size <= self.free_memory:
            self.free_memory -= size
            block = {name: torch.empty(shape, dtype=like[name].dtype) for name, shape in shapes.items()}
        else:
            try:
                block = {name: self._mapped(shape, like[name].dtype) for name, shape in shapes.items()}
            except OSError as error:  # a full disk: what is not kept is computed again
                logger.warning("features of pictures are kept no further: %s", error)
                self.free_bytes = 0
                return False
        self.free_bytes -= size
        self.blocks.append(block)
        return True

    def _mapped(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        size = prod(shape) * dtype.itemsize
        with tempfile.TemporaryFile(dir=self.folder, prefix=_PLACE) as file:  # without a name: it goes with the process
            reserved = memoryview(bytes(1 << 20))
            for start in range(0, size, len(reserved)):  # written, since a hole that finds no room later kills
                file.write(reserved[: size - start])
            file.flush()
            mapped = mmap.mmap(file.fileno(), size)
        return torch.frombuffer(mapped, dtype=dtype).view(shape)


class KeptPictures:
    """Stands in the place of an adapter's `ImagePreparer`: gives features, and pixels where it must.

    Pixels are given where what the features depend on has changed, as in a copy whose weights are others; of pictures
    that found no room; and of those that are not kept yet, in processes that prepare batches.

    Attributes:
        by_themselves: Whether pictures that are not kept yet are encoded one by one: then what one gives does not hang
            on which batch it came in, so that a resumed run is the same.
        seconds: Spent on pictures that were handed over while they were checked.
    """

    def __init__(
        self,
        adapter: Adapter,
        part: PicturePart,
        pixels: ImagePreparer,
        store: FeatureStore,
        *,
        by_themselves: bool = True,
    ) -> None:
        self.adapter, self.part, self.pixels, self.store = adapter, part, pixels, store
        self.by_themselves = by_themselves
        self.pending: dict[str, Tensor] = {}
        self.seconds = 0.0
        self.known_state, self.digest = self._state(), weights_digest(adapter, part.weights)
        self.is_valid = True
        self.has_failed = False

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """Features (B, ...), or (B, 2, ...) of pairs of two pictures, by name; else as `ImagePreparer` does."""
        every = [members(pair, "image") for pair in pairs]
        sources = [source for pictures in every for source, _ in pictures]
        new = {source: image for pictures in every for source, image in pictures if source not in self.store}
        is_apart = bool(new) and get_worker_info() is not None
        if is_apart or self.pixels.masked or self.store.left_out & new.keys() or not self._holds():
            return self.pixels(pairs)
        prepared = {source: self.pixels.of(source, image) for source, image in new.items()}
        for some in [{source: row} for source, row in prepared.items()] if self.by_themselves else [prepared]:
            self._keep(some)
        if self.store.left_out & new.keys():
            return self.pixels(pairs)
        shape = (len(pairs),) if len(sources) == len(pairs) else (len(pairs), len(every[0]))
        return {name: rows.view(*shape, *rows.shape[1:]) for name, rows in self.store.rows(sources).items()}

    def one(self, picture: Image.Image) -> Tensor:
        """As `ImagePreparer.one`."""
        return self.pixels.one(picture)

    def take(self, source: str, picture: Image.Image) -> None:
        """Keep the features of a picture that is open, once enough have been taken for one forward pass.

        Where that fails none are taken any more: the pre-flight then says which pairs the model cannot take, and why.
        """
        if self.has_failed:
            return
        started = time.perf_counter()
        try:
            pixels = self.pixels.one(picture)
        except LIBRARY_ERRORS as error:
            self._give_up(error)
            return
        if not self.pixels.masked and source not in self.store:
            self.pending[source] = pixels
        self.seconds += time.perf_counter() - started
        if len(self.pending) == TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Keep the features of the last pictures taken."""
        started = time.perf_counter()
        try:
            self._keep(self.pending)
        except LIBRARY_ERRORS as error:
            self._give_up(error)
        self.pending = {}
        self.seconds += time.perf_counter() - started

    def _give_up(self, error: Exception) -> None:
        if isinstance(error, OSError):  # of a disk, not of the network
            raise error
        self.has_failed, self.pending = True, {}

    def _keep(self, pixels: Mapping[str, Tensor]) -> None:
        if not pixels:
            return
        stacked = torch.stack(list(pixels.values())).to(self.adapter.device)
        with evaluating(self.adapter):
            self.store.put(list(pixels), self.part.features({"pixel_values": stacked}))

    def _holds(self) -> bool:
        """Whether the weights are still those that the features were made with."""
        state = self._state()
        if state != self.known_state:  # written to, though perhaps with the same, as when a run is resumed
            self.is_valid = weights_digest(self.adapter, self.part.weights) == self.digest
            self.known_state = state
        return self.is_valid

    def _state(self) -> list[tuple[int, int]]:
        """Changes whenever a weight that features depend on is another one, or is written to."""
        named = self.adapter.state_dict(keep_vars=True)
        return [(named[name].data_ptr(), named[name]._version) for name in sorted(self.part.weights)]


@contextmanager
def kept_features(adapter: Adapter, gib: float, folder: Path | None = None) -> Iterator[KeptPictures | None]:
    """Within the block, what a frozen encoder gives of each picture is computed once.

    Args:
        adapter: On its device, with ``requires_grad`` as it will be trained.
        gib: Most that is kept, in GiB: the first of them in memory, the others in files.
        folder: Where the files lie while they are needed; None for the system's folder of temporary files.

    Yields:
        What stands in the place of the preparer of pictures; None where nothing can be kept.
    """
    pixels, part = getattr(adapter, "images", None), adapter.picture_part()
    every = adapter.named_parameters(remove_duplicate=False)
    trained = {name for name, parameter in every if parameter.requires_grad}
    if not isinstance(pixels, ImagePreparer) or part is None or not part.weights or part.weights & trained or gib <= 0:
        yield None
        return
    store = FeatureStore(int(gib * GIB), CACHE_BYTES, folder or Path(tempfile.gettempdir()))
    kept = KeptPictures(adapter, part, pixels, store)
    adapter.images = kept
    try:
        yield kept
    finally:
        adapter.images = pixels


@contextmanager
def shared_features(adapter: Adapter, stores: dict[str, FeatureStore]) -> Iterator[None]:
    """Within the block, a picture that a model with the same image encoder was shown is not encoded again.

    Args:
        adapter: In evaluation mode, on its device.
        stores: What the last such model left, by what its encoder and its processor are; changed.
    """
    pixels, part = getattr(adapter, "images", None), adapter.picture_part()
    if not isinstance(pixels, ImagePreparer) or part is None or not part.weights:
        yield
        return
    key = f"{weights_digest(adapter, part.weights)} {pixels.processor!r}"
    store = stores.get(key) or FeatureStore(CACHE_BYTES, CACHE_BYTES, Path(tempfile.gettempdir()))
    stores.clear()
    stores[key] = store
    adapter.images = KeptPictures(adapter, part, pixels, store, by_themselves=False)
    try:
        yield
    finally:
        adapter.images = pixels
