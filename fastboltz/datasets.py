"""Data sets: scikit-learn's bundled digits, and files that are looked for in a folder of yours.

`load_digits` works everywhere. `load_mnist`, `load_ocr_letters` and `load_polyphonic_music` read
``.npz`` files from the folder that the environment variable ``FASTBOLTZ_DATA`` names. The package
ships none of them and downloads nothing; what is missing is said in a sentence.
`make_bouncing_balls` generates films. `Redrawn` makes bits of grey values, others in every pass of
a training, `SwapNoise` rows with entries of other rows.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from . import rng
from .chunks import is_chunked, passes_over
from .validation import check_count, check_flag, check_number, in_full, one_of, put_back

#: The environment variable that names the folder of the files.
FOLDER_VARIABLE = "FASTBOLTZ_DATA"
#: Splits of MNIST and of the music, in the order in which they are returned.
SPLITS = ("train", "valid", "test")
#: The sets of `load_polyphonic_music`.
MUSIC = ("jsb_chorales", "nottingham", "piano_midi", "musedata")
#: Keys of the piano in the music.
N_KEYS = 88

_BINARIZE = ("sample", "threshold")
_DIGITS_TRAIN = 1400
_CHUNK_ROWS = 4096
#: Group of the random numbers of `Redrawn`.
_REDRAWN = 3


@dataclass(frozen=True)
class Images:
    """Labelled images, one a row.

    Attributes
    ----------
    X : ndarray of shape (n_images, n_pixels)
        Values in [0, 1].
    y : ndarray of shape (n_images,), int64
        Labels.
    image_shape : tuple of int
        Rows and columns of pixels: ``X[0].reshape(image_shape)`` is a picture.
    """

    X: np.ndarray
    y: np.ndarray
    image_shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.X)


@dataclass(frozen=True)
class Letters(Images):
    """Images of letters that stand in words.

    Attributes
    ----------
    X, y, image_shape
        As in `Images`; the label is the number of the letter, from 0 for a.
    words : ndarray of shape (n_images,)
        Number of the word that each letter stands in; a word's letters follow one another.
    folds : ndarray of shape (n_images,)
        Fold of that word, 0 to 9, for the usual cross-validation over words.
    """

    words: np.ndarray
    folds: np.ndarray


@dataclass(frozen=True)
class Sequences:
    """Sequences of binary frames, in their standard splits.

    Attributes
    ----------
    name : str
    train, valid, test : tuple of ndarrays of shape (n_steps, 88)
        One array a piece; 1 where the key sounds.
    """

    name: str
    train: tuple[np.ndarray, ...]
    valid: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]


class _Table:
    """Rows in chunks, with their labels where there are some."""

    def __init__(self, X: Any, y: Any = None) -> None:
        self.X: Any = X.tocsr() if sparse.issparse(X) else np.asarray(X)
        if self.X.ndim != 2:
            raise ValueError(
                f"X has {self.X.ndim} dimensions; give a table (n_samples, n_features)."
            )
        self.y = None if y is None else np.asarray(y)
        if self.y is not None and len(self.y) != self.X.shape[0]:
            raise ValueError(
                f"y has {len(self.y)} labels, but X has {self.X.shape[0]} rows; give one label a "
                f"row."
            )

    def __call__(self, epoch: int = 0) -> Iterator[Any]:
        """Rows, dense, in the order of the table; with labels, pairs of both."""
        for start in range(0, self.X.shape[0], _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            rows = self.X[part].toarray() if sparse.issparse(self.X) else self.X[part]
            yield rows if self.y is None else (rows, self.y[part])


def _changed(
    chunks: Iterator[Any], address: rng.Address, change: Callable[[Any, rng.Address], np.ndarray]
) -> Iterator[Any]:
    """Chunks with other rows, each row with random numbers of its own; what is beside stays."""
    for chunk in chunks:
        rows, *others = chunk if isinstance(chunk, tuple) else (chunk,)
        rows = change(rows, address)
        yield (rows, *others) if others else rows
        address = address._replace(row=address.row + len(rows))


def _with_unlabelled(y: Any) -> np.ndarray:
    """Labels, followed by as many that say that there is none."""
    y = np.asarray(y)
    if y.dtype.kind in "bui":
        y = y.astype(np.int64)
    is_text = y.dtype.kind in "US"
    none = np.full(len(y), "-1", f"{y.dtype.kind}2") if is_text else np.full(len(y), -1)
    return np.concatenate([y, none])


class Redrawn(_Table):
    """Rows of bits that are drawn anew for every pass of a training, from grey values.

    Given in the place of rows to the `fit` of a model of binary units. Where a pixel's brightness
    is the probability that it is one, a single draw is soon learnt by heart; with other draws in
    every epoch the rows never end. Evaluate on a single draw, or classify grey values: they stand
    for probabilities there.

    Parameters
    ----------
    X : array-like or CSR matrix of shape (n_samples, n_features)
        Probabilities in [0, 1], or bytes (uint8) that are 255 times as much.
    y : array-like of shape (n_samples,), optional
        Labels, for classifiers.
    random_state : None, int, RandomState or Generator
        The same number gives the same bits in the same epoch, on every machine, and where a
        training goes on from a file.

    Raises
    ------
    ValueError
        If there are values out of that range, or not as many labels as rows.

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.datasets import Redrawn, load_digits
    >>> train, _ = load_digits(binarize=None)
    >>> rbm = RBM(16, n_iter=3, random_state=0).fit(Redrawn(train.X))
    >>> rbm.n_iter_
    3
    """

    def __init__(self, X: Any, y: Any = None, *, random_state: Any = 0) -> None:
        super().__init__(X, y)
        #: What one is in X.
        self.scale = 255 if self.X.dtype == np.uint8 else 1
        self.X = put_back(self.X, 0, self.scale)
        values = self.X.data if sparse.issparse(X) else self.X
        low, high = (values.min(), values.max()) if values.size else (0, 0)
        if not (low >= 0 and high <= self.scale):
            raise ValueError(
                f"X has values from {in_full(low)} to {in_full(high)}; expected probabilities in "
                f"[0, 1], or bytes of dtype uint8. Rescale it, as "
                f"sklearn.preprocessing.minmax_scale does."
            )
        # Apart from the numbers that images are binarised by once, one group for each split.
        self.address = rng.Address.of(rng.seed_from(random_state), "user", group=_REDRAWN)

    def __call__(self, epoch: int = 0) -> Iterator[Any]:
        """Draw all rows as bytes, some at a time; with labels, pairs of rows and labels."""
        return _changed(super().__call__(), self.address._replace(step=epoch), self._draw)

    def _draw(self, grey: np.ndarray, address: rng.Address) -> np.ndarray:
        u = rng.uniform(address, grey.shape, np.float32)
        u *= np.float32(self.scale)
        return (u < grey).astype(np.uint8)


class SwapNoise:
    """Rows with a share of their entries from other rows, anew in every pass of a training.

    Given in the place of rows to the `fit` of any model. An entry that is replaced becomes that of
    another row in the same column, so that columns keep their values and their distributions,
    whatever these are. A classifier that cannot trust any single entry learns less by heart. It
    pays where rows have many entries that say the same and a model fits its rows far better than
    new ones, as with images; an error on the training rows that stays high speaks against it.
    Evaluate and predict on the rows as they are.

    Parameters
    ----------
    X : array-like or CSR matrix of shape (n_samples, n_features), or function
        Or what `fit` takes in place of rows, such as `Redrawn`: then other rows are those of the
        same chunk.
    y : array-like of shape (n_samples,), optional
        Labels, for classifiers; with a function they come from it.
    share : float, default=0.2
        Probability of each entry to be replaced, in [0, 1). Categories in one-hot columns would be
        torn apart.
    with_clean : bool, default=False
        Let the rows of a chunk follow once more as they are, labelled -1: without a label. A class
        RBM with ``objective="semi-supervised", alpha=0`` then learns ``log p(y|v)`` from changed
        rows and, weighed by ``beta``, ``log p(v)`` from clean ones, where ``log p(v)`` of changed
        rows would model the noise. A pass has twice the rows, so that as large minibatches as
        before have half of each.
    random_state : None, int, RandomState or Generator
        The same number gives the same rows in the same epoch, on every machine, and where a
        training goes on from a file.

    References
    ----------
    Vincent, Larochelle, Bengio & Manzagol, "Extracting and composing robust features with denoising
    autoencoders", ICML 2008 (learning from corrupted rows).

    Examples
    --------
    >>> from fastboltz import RBMClassifier
    >>> from fastboltz.datasets import SwapNoise, load_digits
    >>> train, _ = load_digits()
    >>> model = RBMClassifier(16, n_iter=3, random_state=0).fit(SwapNoise(train.X, train.y))
    >>> model.n_iter_
    3
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        *,
        share: float = 0.2,
        with_clean: bool = False,
        random_state: Any = 0,
    ) -> None:
        self.with_clean = check_flag("with_clean", with_clean)
        if with_clean and y is None and not is_chunked(X):
            raise ValueError(
                "with_clean=True tells clean rows from changed ones by their label, but there are "
                "no labels; give y, or with_clean=False."
            )
        if is_chunked(X) and y is not None:
            raise ValueError(
                "y was given beside a function of chunks, whose labels come with them; let it "
                "return pairs (X, y), and leave y out."
            )
        self.X = X if is_chunked(X) else _Table(X, y)
        self.share = check_number("share", share, 0, 1)
        # Apart from the numbers of `Redrawn` with the same seed.
        self.address = rng.Address.of(rng.seed_from(random_state), "user").at(group=1)

    def __call__(self, epoch: int = 0) -> Iterator[Any]:
        """Rows in chunks; with labels and weights, tuples of all."""
        chunks = passes_over(self.X, "SwapNoise")(epoch)
        address = self.address._replace(step=epoch)
        if not self.with_clean:
            yield from _changed(chunks, address, self._swap)
            return
        for chunk in chunks:
            if not isinstance(chunk, tuple) or chunk[1] is None:
                raise ValueError(
                    "with_clean=True tells clean rows from changed ones by their label, but the "
                    "function of chunks returned rows without; let it return pairs (X, y)."
                )
            rows, y, *weight = chunk
            clean = rows.toarray() if sparse.issparse(rows) else np.asarray(rows)
            parts = [np.concatenate([self._swap(rows, address), clean]), _with_unlabelled(y)]
            yield (*parts, *(None if w is None else np.concatenate([w, w]) for w in weight))
            address = address._replace(row=address.row + len(clean))

    def _swap(self, rows: Any, address: rng.Address) -> np.ndarray:
        out = rows.toarray() if sparse.issparse(rows) else np.array(rows)
        u = rng.uniform(address, out.shape)
        at, column = np.nonzero(u < self.share)
        # Of those that are replaced, u / share is uniform: it says by how many rows to move on.
        n = len(out)
        step = 1 + (u[at, column] / self.share * (n - 1)).astype(np.intp)
        out[at, column] = out[(at + step) % n, column]
        return out


def load_digits(
    binarize: str | None = "threshold", *, dtype: Any = np.float32, random_state: Any = 0
) -> tuple[Images, Images]:
    """scikit-learn's bundled digits: 1,797 images of 8 x 8 pixels with 17 grey levels.

    Parameters
    ----------
    binarize : {"threshold", "sample"} or None
        "threshold" makes a pixel 1 from half of the full brightness on; "sample" draws it with its
        brightness as the probability; None keeps grey values in [0, 1].
    dtype : float32 or float64
    random_state : None, int, RandomState or Generator
        Of ``binarize="sample"``; the split never depends on it.

    Returns
    -------
    train, test : Images
        1,400 and 397 images, always the same ones.

    Examples
    --------
    >>> from fastboltz.datasets import load_digits
    >>> train, test = load_digits()
    >>> train.X.shape, test.X.shape, train.image_shape
    ((1400, 64), (397, 64), (8, 8))
    """
    from sklearn import datasets

    bunch = datasets.load_digits()
    # RandomState's streams are frozen, so the split is the same with every version of NumPy.
    order = np.random.RandomState(0).permutation(len(bunch.data))
    address = rng.Address.of(rng.seed_from(random_state), "user")
    pixels = _binarized(bunch.data[order] / 16, binarize, dtype, address)
    labels = bunch.target[order].astype(np.int64)
    parts = slice(None, _DIGITS_TRAIN), slice(_DIGITS_TRAIN, None)
    train, test = (Images(pixels[part], labels[part], (8, 8)) for part in parts)
    return train, test


def load_mnist(
    binarize: str | None = "sample",
    *,
    random_state: Any = 0,
    dtype: Any = np.float32,
    folder: str | os.PathLike[str] | None = None,
) -> tuple[Images, Images, Images]:
    """MNIST, read from ``mnist.npz``: 28 x 28 pixels in 256 grey levels.

    Parameters
    ----------
    binarize : {"sample", "threshold"} or None
        "sample" draws each pixel once, with its brightness as the probability; "threshold" makes a
        pixel 1 from half of the full brightness on; None keeps grey values in [0, 1].
    random_state : None, int, RandomState or Generator
        Of ``binarize="sample"``: the same number gives the same bits on every machine.
    dtype : float32 or float64
    folder : path, optional
        Folder of the file; by default what the environment variable ``FASTBOLTZ_DATA`` names.

    Returns
    -------
    train, valid, test : Images
        50,000, 10,000 and 10,000 images in the usual split.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file, with what to do about it.

    Notes
    -----
    The binarisation is our own draw, not the fixed one of Larochelle & Murray (2011) nor that of
    any other publication. Say so beside every log-likelihood that is measured with it: figures of
    different draws differ a little.
    """
    arrays = _read(
        "mnist.npz",
        "load_mnist",
        {f"{kind}_{split}": what for split in SPLITS for kind, what in _MNIST_ARRAYS.items()},
        folder,
    )
    seed = rng.seed_from(random_state)
    parts = []
    for number, split in enumerate(SPLITS):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        _expect("mnist.npz", f"x_{split}", x, (None, 784), "uint8")
        _expect("mnist.npz", f"y_{split}", y, (len(x),))
        pixels = np.empty(x.shape, dtype)
        for start in range(0, len(x), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            grey = x[rows] / np.float32(255)
            # The row's number in its split is part of the address, so chunks change nothing.
            address = rng.Address.of(seed, "user", group=number, row=start)
            pixels[rows] = _binarized(grey, binarize, dtype, address)
        parts.append(Images(pixels, y.astype(np.int64), (28, 28)))
    train, valid, test = parts
    return train, valid, test


def load_ocr_letters(
    *, dtype: Any = np.float32, folder: str | os.PathLike[str] | None = None
) -> Letters:
    """OCR letters, read from ``ocr_letters.npz``: 52,152 binary images of 16 x 8 pixels.

    Parameters
    ----------
    dtype : float32 or float64
    folder : path, optional
        Folder of the file; by default what the environment variable ``FASTBOLTZ_DATA`` names.

    Returns
    -------
    Letters

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file, with what to do about it.

    References
    ----------
    Taskar, Guestrin & Koller, "Max-margin Markov networks", NIPS 2003.
    """
    name = "ocr_letters.npz"
    arrays = _read(
        name,
        "load_ocr_letters",
        {
            "x": "(n_letters, 16) uint8, a letter's 128 pixels packed eight to a byte",
            "y": "(n_letters,), its number from 0",
            "word_lengths": "(n_words,), letters of each word",
            "word_folds": "(n_words,), fold of each word",
        },
        folder,
    )
    x, lengths = arrays["x"], arrays["word_lengths"]
    _expect(name, "x", x, (None, 16), "uint8")
    _expect(name, "y", arrays["y"], (len(x),))
    _expect(name, "word_folds", arrays["word_folds"], (len(lengths),))
    if lengths.sum() != len(x):
        raise ValueError(
            f"{name}: word_lengths sum to {lengths.sum()}, but x has {len(x)} letters; expected "
            f"them to be equal."
        )
    return Letters(
        X=np.unpackbits(x, axis=1).astype(dtype),
        y=arrays["y"].astype(np.int64),
        image_shape=(16, 8),
        words=np.repeat(np.arange(len(lengths)), lengths),
        folds=np.repeat(arrays["word_folds"].astype(np.int64), lengths),
    )


def load_polyphonic_music(
    name: str,
    *,
    dtype: Any = np.float32,
    folder: str | os.PathLike[str] | None = None,
) -> Sequences:
    """Piano rolls of 88 keys, read from ``polyphonic_music.npz``.

    Parameters
    ----------
    name : {"jsb_chorales", "nottingham", "piano_midi", "musedata"}
    dtype : float32 or float64
    folder : path, optional
        Folder of the file; by default what the environment variable ``FASTBOLTZ_DATA`` names.

    Returns
    -------
    Sequences

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file, with what to do about it.

    References
    ----------
    Boulanger-Lewandowski, Bengio & Vincent, "Modeling temporal dependencies in high-dimensional
    sequences", ICML 2012.
    """
    one_of("name", name, MUSIC)
    file = "polyphonic_music.npz"
    what = {
        "lengths": "(n_pieces,), steps of each piece",
        "frames": "(n_steps, 11) uint8, a step's 88 keys packed eight to a byte",
    }
    arrays = _read(
        file,
        "load_polyphonic_music",
        {f"{name}_{split}_{kind}": text for split in SPLITS for kind, text in what.items()},
        folder,
    )
    parts = {}
    for split in SPLITS:
        key = f"{name}_{split}"
        frames, lengths = arrays[f"{key}_frames"], arrays[f"{key}_lengths"]
        _expect(file, f"{key}_frames", frames, (None, -(-N_KEYS // 8)), "uint8")
        if lengths.sum() != len(frames):
            raise ValueError(
                f"{file}: {key}_lengths sum to {lengths.sum()}, but {key}_frames has {len(frames)} "
                f"steps; expected them to be equal."
            )
        keys = np.unpackbits(frames, axis=1)[:, :N_KEYS].astype(dtype)
        parts[split] = tuple(np.split(keys, np.cumsum(lengths)[:-1]))
    return Sequences(name, **parts)


def make_bouncing_balls(
    n_sequences: int = 100,
    n_steps: int = 100,
    *,
    size: int = 15,
    n_balls: int = 2,
    radius: float = 2.0,
    speed: float = 0.9,
    dtype: Any = np.float32,
    random_state: Any = 0,
) -> list[np.ndarray]:
    """Films of balls that bounce off the walls and off each other: generated, nothing is read.

    Balls of equal mass move at constant speed between elastic collisions. A pixel is 1 where its
    centre lies inside of a ball. A single frame does not tell where the balls are going, so a
    model has to remember.

    Parameters
    ----------
    n_sequences, n_steps : int
        Films, and frames of each.
    size : int
        Pixels of a side.
    n_balls : int
    radius : float
        Of a ball, in pixels.
    speed : float
        Root mean square of the balls' speeds in a film, in pixels a frame; below the radius, so
        that no ball passes through another.
    dtype : float32 or float64
    random_state : None, int, RandomState or Generator

    Returns
    -------
    list of ndarrays of shape (n_steps, size * size)

    References
    ----------
    Sutskever, Hinton & Taylor, "The recurrent temporal restricted Boltzmann machine", NIPS 2008
    (films like these; the generator is our own).

    Examples
    --------
    >>> from fastboltz.datasets import make_bouncing_balls
    >>> films = make_bouncing_balls(3, 20, random_state=0)
    >>> len(films), films[0].shape
    (3, (20, 225))
    """
    for name, count in (("n_sequences", n_sequences), ("n_steps", n_steps), ("size", size)):
        check_count(name, count)
    check_count("n_balls", n_balls)
    check_number("radius", radius, 0, strict=True)
    check_number("speed", speed, 0, below=radius)
    if 2 * radius >= size:
        raise ValueError(
            f"balls of radius {radius:g} do not fit {size} pixels; the radius must be below "
            f"{size / 2:g}."
        )
    address = rng.Address.of(rng.seed_from(random_state), "user")
    shape = (n_sequences, n_balls, 2)
    where = radius + (size - 2 * radius) * rng.uniform(address, shape)
    velocity = rng.normal(address.at(step=1), shape)
    square = np.mean(np.sum(velocity**2, axis=2, keepdims=True), axis=1, keepdims=True)
    velocity *= speed / np.sqrt(square)
    centres = np.arange(size) + 0.5
    films = np.empty((n_sequences, n_steps, size, size), dtype)
    for t in range(n_steps):
        down, right = (centres - where[:, :, axis, None] for axis in (0, 1))
        inside = down[:, :, :, None] ** 2 + right[:, :, None, :] ** 2 < radius**2
        films[:, t] = inside.any(axis=1)
        _move_balls(where, velocity, radius, size)
    return list(films.reshape(n_sequences, n_steps, size * size))


def _move_balls(where: np.ndarray, velocity: np.ndarray, radius: float, size: int) -> None:
    """One frame of elastic motion, in place; both are (n_films, n_balls, 2)."""
    where += velocity
    for wall, side in ((radius, 1), (size - radius, -1)):
        beyond = side * (where - wall) < 0
        where[beyond] = 2 * wall - where[beyond]
        velocity[beyond] = side * np.abs(velocity[beyond])
    for a, b in combinations(range(where.shape[1]), 2):
        apart = where[:, a] - where[:, b]
        distance = np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-12)
        normal = apart / distance
        closing = np.sum((velocity[:, a] - velocity[:, b]) * normal, axis=1, keepdims=True)
        # Balls that touch and approach exchange their velocities along the line between them.
        exchanged = np.where((distance < 2 * radius) & (closing < 0), closing, 0) * normal
        velocity[:, a] -= exchanged
        velocity[:, b] += exchanged


_MNIST_ARRAYS = {
    "x": "(n_images, 784) uint8, brightness from 0 to 255",
    "y": "(n_images,), labels from 0 to 9",
}


def _binarized(
    grey: np.ndarray, binarize: str | None, dtype: Any, address: rng.Address
) -> np.ndarray:
    """Rows with values in [0, 1] as they were asked for."""
    if binarize is None:
        return grey.astype(dtype)
    if one_of("binarize", binarize, _BINARIZE) == "threshold":
        return (grey >= 0.5).astype(dtype)
    return (rng.uniform(address, grey.shape, np.float32) < grey).astype(dtype)


def _read(
    name: str,
    function: str,
    expected: Mapping[str, str],
    folder: str | os.PathLike[str] | None,
) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file, or a sentence that says what is missing and what to do."""
    alike: dict[str, list[str]] = {}
    for key, what in expected.items():
        alike.setdefault(what, []).append(key)
    contents = "; ".join(f"{', '.join(keys)}: {what}" for what, keys in alike.items())
    remedy = (
        f"Set {FOLDER_VARIABLE} to a folder (or pass it as folder=) that holds {name}, with the "
        f"arrays {contents}."
    )
    where = folder if folder is not None else os.environ.get(FOLDER_VARIABLE)
    if not where:
        raise FileNotFoundError(
            f"{function} needs the file {name}, which fastboltz does not ship, and the environment "
            f"variable {FOLDER_VARIABLE} is not set. {remedy}"
        )
    path = Path(where)
    source = "the argument folder" if folder is not None else FOLDER_VARIABLE
    if not path.is_dir():
        raise FileNotFoundError(
            f"{function} needs the file {name}, but {source} names {str(path)!r}, which is not a "
            f"folder. {remedy}"
        )
    path = path / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{function} needs the file {name}, but {str(path.parent)!r}, which {source} "
            f"names, does not have it. {remedy}"
        )
    try:
        # np.load would leave a broken archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            missing = [key for key in expected if key not in arrays]
            if not missing:
                return {key: arrays[key] for key in expected}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as an .npz file ({error}). Replace it by one with the "
            f"arrays {contents}."
        ) from error
    raise ValueError(
        f"{str(path)!r} lacks the array{'s' * (len(missing) > 1)} {', '.join(missing)}. Expected: "
        f"{contents}."
    )


def _expect(
    file: str,
    key: str,
    x: np.ndarray,
    shape: tuple[int | None, ...],
    dtype: str | None = None,
) -> None:
    """Check an array of a file; None in the shape stands for any size."""
    fits = x.ndim == len(shape) and all(
        s is None or s == n for s, n in zip(shape, x.shape, strict=True)
    )
    if fits and (dtype is None or x.dtype == dtype):
        return
    wanted = ", ".join("n" if s is None else str(s) for s in shape) + "," * (len(shape) == 1)
    raise ValueError(
        f"{file}: the array {key} has shape {x.shape} and dtype {x.dtype}; expected ({wanted})"
        f"{'' if dtype is None else f' {dtype}'}."
    )
