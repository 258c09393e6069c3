"""Data sets: the bundled digits, and files in a folder of the user's (drawn here, in miniature)."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fastboltz import RBMClassifier, datasets


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.fixture
def no_folder(monkeypatch):
    monkeypatch.delenv("FASTBOLTZ_DATA", raising=False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBOLTZ_DATA", str(tmp_path))
    return tmp_path


def mnist_arrays(generator, sizes=(20, 9, 5)):
    arrays = {}
    for split, n in zip(("train", "valid", "test"), sizes, strict=True):
        arrays[f"x_{split}"] = generator.integers(0, 256, (n, 784), dtype=np.uint8)
        arrays[f"y_{split}"] = generator.integers(0, 10, n, dtype=np.uint8)
    return arrays


def packed(bits):
    return np.packbits(bits.astype(np.uint8), axis=1)


# ------------------------------------------------------------------------------------------- digits


def test_digits_are_split_without_overlap_and_always_alike():
    """The sum and the first labels pin the split."""
    train, test = datasets.load_digits(None)
    assert (len(train), len(test)) == (1400, 397)
    assert train.image_shape == (8, 8)
    from sklearn.datasets import load_digits

    every = load_digits()
    ours = np.concatenate([train.X, test.X])
    assert sorted(map(bytes, ours)) == sorted(map(bytes, (every.data / 16).astype(np.float32)))
    assert np.bincount(test.y).min() >= 25, "a digit is all but missing from the test images"
    assert (int(train.y.sum()), train.y[:5].tolist()) == (6255, [2, 8, 2, 6, 6])
    again, _ = datasets.load_digits("threshold", random_state=5)
    np.testing.assert_array_equal(train.y, again.y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_are_binarized_at_half_of_the_brightness(dtype):
    grey, _ = datasets.load_digits(None, dtype=dtype)
    binary, _ = datasets.load_digits(dtype=dtype)
    assert grey.X.dtype == binary.X.dtype == dtype
    assert set(np.unique(grey.X * 16)) == set(range(17))
    np.testing.assert_array_equal(binary.X, (grey.X * 16 >= 8).astype(dtype))


def test_sampled_digits_have_the_brightness_as_their_mean():
    """Within 4.5 standard errors of independent draws; black stays black, white white."""
    grey, _ = datasets.load_digits(None)
    drawn, _ = datasets.load_digits("sample", random_state=1)
    again, _ = datasets.load_digits("sample", random_state=1)
    other, _ = datasets.load_digits("sample", random_state=2)
    np.testing.assert_array_equal(drawn.X, again.X)
    assert not np.array_equal(drawn.X, other.X)
    assert set(np.unique(drawn.X)) == {0, 1}
    assert not drawn.X[grey.X == 0].any() and drawn.X[grey.X == 1].all()
    for level in np.arange(1, 16) / 16:
        at = np.isclose(grey.X, level)
        error = np.sqrt(level * (1 - level) / at.sum())
        assert abs(drawn.X[at].mean() - level) < 4.5 * error


def test_a_wrong_binarize_is_told_what_there_is():
    with pytest.raises(ValueError, match=r"binarize must be one of .*Did you mean 'threshold'"):
        datasets.load_digits("treshold")


# -------------------------------------------------------------------------------------------- mnist


def test_mnist_keeps_pixels_labels_and_splits(folder, generator):
    arrays = mnist_arrays(generator)
    np.savez(folder / "mnist.npz", **arrays)
    parts = datasets.load_mnist(None, dtype=np.float64)
    for part, split in zip(parts, ("train", "valid", "test"), strict=True):
        np.testing.assert_allclose(part.X, arrays[f"x_{split}"] / 255, rtol=1e-6)
        np.testing.assert_array_equal(part.y, arrays[f"y_{split}"])
        assert part.y.dtype == np.int64 and part.X.dtype == np.float64
        assert part.image_shape == (28, 28)
    thresholded = datasets.load_mnist("threshold")
    for part, split in zip(thresholded, ("train", "valid", "test"), strict=True):
        np.testing.assert_array_equal(part.X, arrays[f"x_{split}"] >= 128)
        assert part.X.dtype == np.float32


def test_mnist_bits_are_drawn_once_whatever_the_chunks(folder, generator, monkeypatch):
    """Catches a draw that restarts with each chunk, or that is shared by two splits."""
    grey = np.full((30, 784), 128, np.uint8)
    arrays = mnist_arrays(generator)
    arrays |= {"x_train": grey, "y_train": np.zeros(30), "x_valid": grey, "y_valid": np.zeros(30)}
    np.savez(folder / "mnist.npz", **arrays)
    train, valid, _ = datasets.load_mnist(random_state=3)
    monkeypatch.setattr(datasets, "_CHUNK_ROWS", 7)
    chunked, _, _ = datasets.load_mnist(random_state=3)
    np.testing.assert_array_equal(train.X, chunked.X)
    assert len(np.unique(train.X, axis=0)) == 30
    # Two independent fair tables differ in half of their entries.
    n = train.X.size
    assert abs((train.X != valid.X).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(n)
    p = 128 / 255
    assert abs(train.X.mean() - p) < 4.5 * np.sqrt(p * (1 - p) / n)
    other, _, _ = datasets.load_mnist(random_state=4)
    assert not np.array_equal(train.X, other.X)


def test_mnist_says_that_the_binarisation_is_its_own():
    assert "our own draw" in datasets.load_mnist.__doc__


# -------------------------------------------------------------------------------- letters and music


def test_letters_are_unpacked_and_know_their_words(folder, generator):
    bits = generator.integers(0, 2, (6, 128))
    np.savez(
        folder / "ocr_letters.npz",
        x=packed(bits),
        y=np.arange(6, dtype=np.uint8),
        word_lengths=np.array([1, 3, 2], np.int32),
        word_folds=np.array([4, 0, 9], np.uint8),
    )
    letters = datasets.load_ocr_letters()
    np.testing.assert_array_equal(letters.X, bits)
    assert letters.image_shape == (16, 8) and letters.X.dtype == np.float32
    assert letters.words.tolist() == [0, 1, 1, 1, 2, 2]
    assert letters.folds.tolist() == [4, 0, 0, 0, 9, 9]
    assert letters.y.tolist() == list(range(6))


def music_arrays(generator):
    lengths = {"train": [3, 1, 4], "valid": [2], "test": [5, 2]}
    bits = {split: generator.integers(0, 2, (sum(n), 88)) for split, n in lengths.items()}
    arrays = {}
    for split, n in lengths.items():
        arrays[f"nottingham_{split}_frames"] = packed(bits[split])
        arrays[f"nottingham_{split}_lengths"] = np.array(n, np.int32)
    return arrays, bits, lengths


def test_music_is_cut_into_its_pieces(folder, generator):
    arrays, bits, lengths = music_arrays(generator)
    np.savez(folder / "polyphonic_music.npz", **arrays)
    music = datasets.load_polyphonic_music("nottingham")
    assert music.name == "nottingham"
    for split in ("train", "valid", "test"):
        pieces = getattr(music, split)
        assert [len(piece) for piece in pieces] == lengths[split]
        np.testing.assert_array_equal(np.concatenate(pieces), bits[split])


def test_an_unknown_set_of_music_is_told_the_names(no_folder):
    with pytest.raises(ValueError, match="Did you mean 'nottingham'"):
        datasets.load_polyphonic_music("nottinghm")


# ----------------------------------------------------------------------------------- bouncing balls


def test_films_of_balls_are_repeatable_and_move_a_little_at_a_time():
    films = datasets.make_bouncing_balls(4, 50, random_state=3)
    again = datasets.make_bouncing_balls(4, 50, random_state=3)
    other = datasets.make_bouncing_balls(4, 50, random_state=4)
    assert [x.shape for x in films] == [(50, 225)] * 4
    for x, y, z in zip(films, again, other, strict=True):
        assert set(np.unique(x)) == {0, 1}
        np.testing.assert_array_equal(x, y)
        assert (x != z).any()
        # A disc of radius 2 covers 12 pixels or so; two never cover more than twice as many.
        assert (x.sum(axis=1) >= 8).all()
        assert (x.sum(axis=1) <= 2 * 16).all()
        changed = np.abs(np.diff(x, axis=0)).sum(axis=1)
        assert 0 < changed.mean() < 15


def test_balls_keep_their_energy_and_their_box(generator):
    """Deliberate bugs that this catches: velocities exchanged whole, a wall met one radius late."""
    where = generator.uniform(2, 13, (30, 3, 2))
    velocity = generator.normal(size=(30, 3, 2))
    energy, momentum = (velocity**2).sum(axis=(1, 2)), velocity.sum(axis=1)
    turned = 0
    for _ in range(100):
        inside = ((where + velocity > 2) & (where + velocity < 13)).all(axis=(1, 2))
        datasets._move_balls(where, velocity, 2.0, 15)
        np.testing.assert_allclose((velocity**2).sum(axis=(1, 2)), energy)
        assert ((where >= 2 - 1e-9) & (where <= 13 + 1e-9)).all()
        # Away from the walls a collision leaves the sum of the velocities as it is.
        np.testing.assert_allclose(velocity.sum(axis=1)[inside], momentum[inside])
        turned += int((~inside).sum())
        momentum = velocity.sum(axis=1)
    assert turned > 100


def test_balls_that_do_not_fit_get_a_sentence():
    with pytest.raises(ValueError, match="balls of radius 8 do not fit 15 pixels; the radius must"):
        datasets.make_bouncing_balls(1, 2, radius=8)
    with pytest.raises(ValueError, match="speed must be >= 0 and < 2; got 3"):
        datasets.make_bouncing_balls(1, 2, speed=3)


# ---------------------------------------------------------------------------------- what is missing

LOADERS = {
    "mnist.npz": (datasets.load_mnist, ["x_train", "y_test", "784", "uint8"]),
    "ocr_letters.npz": (datasets.load_ocr_letters, ["word_lengths", "word_folds", "16"]),
    "polyphonic_music.npz": (
        lambda **kwargs: datasets.load_polyphonic_music("piano_midi", **kwargs),
        ["piano_midi_train_lengths", "piano_midi_test_frames", "88 keys"],
    ),
}
every_file = pytest.mark.parametrize("name", LOADERS)


@every_file
def test_without_the_variable_a_sentence_says_what_to_set(name, no_folder):
    load, contents = LOADERS[name]
    with pytest.raises(FileNotFoundError) as error:
        load()
    for part in ("FASTBOLTZ_DATA is not set", "Set FASTBOLTZ_DATA to a folder", name, *contents):
        assert part in str(error.value)


@every_file
def test_without_the_file_a_sentence_says_where_it_was_looked_for(name, folder):
    load, contents = LOADERS[name]
    with pytest.raises(FileNotFoundError) as error:
        load()
    for part in (str(folder), "FASTBOLTZ_DATA names", "does not have it", name, *contents):
        assert part in str(error.value)


@every_file
def test_a_folder_that_is_none_is_said_to_be_none(name, no_folder, tmp_path):
    load, _ = LOADERS[name]
    with pytest.raises(FileNotFoundError, match=r"argument folder names .* is not a folder"):
        load(folder=tmp_path / "nowhere")


@every_file
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of an archive", b"just text"])
def test_a_broken_file_is_said_to_be_broken(name, folder, content):
    load, _ = LOADERS[name]
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file"):
        load()


def test_a_damaged_archive_is_said_to_be_broken(folder, generator):
    path = folder / "mnist.npz"
    np.savez_compressed(path, **mnist_arrays(generator))
    content = bytearray(path.read_bytes())
    content[len(content) // 4 : len(content) // 4 + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file"):
        datasets.load_mnist()


@every_file
def test_a_file_that_lacks_arrays_is_told_which(name, folder):
    load, contents = LOADERS[name]
    np.savez(folder / name, something_else=np.zeros(3))
    with pytest.raises(ValueError, match="lacks the arrays") as error:
        load()
    assert contents[0] in str(error.value)


def test_arrays_of_wrong_shapes_are_named(folder, generator):
    arrays = mnist_arrays(generator)
    arrays["x_valid"] = arrays["x_valid"].reshape(-1, 28, 28)
    np.savez(folder / "mnist.npz", **arrays)
    with pytest.raises(ValueError, match=r"x_valid has shape \(9, 28, 28\).*expected \(n, 784\)"):
        datasets.load_mnist()
    arrays = mnist_arrays(generator)
    arrays["y_train"] = arrays["y_train"][:-1]
    np.savez(folder / "mnist.npz", **arrays)
    with pytest.raises(ValueError, match=r"y_train has shape \(19,\).*expected \(20,\)"):
        datasets.load_mnist()
    music, _, _ = music_arrays(generator)
    music["nottingham_test_lengths"] = np.array([5, 3])
    np.savez(folder / "polyphonic_music.npz", **music)
    with pytest.raises(ValueError, match=r"test_lengths sum to 8, .* has 7 steps"):
        datasets.load_polyphonic_music("nottingham")


# ----------------------------------------------------------------------------------- the real files


def has(name):
    return (Path(os.environ.get("FASTBOLTZ_DATA") or "/nonexistent") / name).is_file()


@pytest.mark.skipif(not has("mnist.npz"), reason="FASTBOLTZ_DATA has no mnist.npz")
def test_the_real_mnist_has_its_usual_split():
    parts = datasets.load_mnist("threshold")
    assert [len(part) for part in parts] == [50_000, 10_000, 10_000]
    assert parts[2].y[:4].tolist() == [7, 2, 1, 0]


@pytest.mark.skipif(not has("ocr_letters.npz"), reason="FASTBOLTZ_DATA has no ocr_letters.npz")
def test_the_real_letters_are_all_there():
    letters = datasets.load_ocr_letters()
    assert letters.X.shape == (52_152, 128) and letters.words[-1] == 6_876
    assert set(letters.folds) == set(range(10)) and letters.y.max() == 25


@pytest.mark.skipif(
    not has("polyphonic_music.npz"), reason="FASTBOLTZ_DATA has no polyphonic_music.npz"
)
@pytest.mark.parametrize("name", datasets.MUSIC)
def test_the_real_music_has_three_splits(name):
    music = datasets.load_polyphonic_music(name)
    for pieces in (music.train, music.valid, music.test):
        assert len(pieces) > 10
        assert all(piece.ndim == 2 and piece.shape[1] == 88 and len(piece) for piece in pieces)


# ------------------------------------------------------------------------------ rows drawn anew


@pytest.mark.parametrize("kind", ["float64", "float32", "bytes", "sparse"])
def test_redrawn_rows_are_ones_as_often_as_their_grey_values_say(kind, generator, monkeypatch):
    """Within 5 deviations of the binomial, over 400 epochs; 0 never and 1 always.

    Deliberate bugs that this catches: one draw for all rows, or for all epochs, a chunk that begins
    with the random numbers of the first.
    """
    monkeypatch.setattr(datasets, "_CHUNK_ROWS", 7)
    p = generator.integers(0, 256, (30, 11)) / 255
    p[:3, :2], p[3:6, :2] = 0, 1
    make = {"bytes": lambda x: np.round(255 * x).astype(np.uint8), "sparse": sparse.csr_array}
    rows = datasets.Redrawn(make.get(kind, lambda x: x.astype(kind))(p))
    drawn = np.array([np.concatenate(list(rows(epoch))) for epoch in range(400)])
    assert drawn.dtype == np.uint8
    assert set(np.unique(drawn)) == {0, 1}
    deviation = np.sqrt(p * (1 - p) / 400)
    assert (np.abs(drawn.mean(axis=0) - p) <= 5 * deviation).all()
    # Neighbours in rows, columns and epochs are independent of each other.
    z = (drawn - p)[:, 6:] / np.sqrt(p * (1 - p) + 1e-9)[6:]
    for axis in range(3):
        pairs = np.take(z, range(1, z.shape[axis]), axis) * np.take(
            z, range(z.shape[axis] - 1), axis
        )
        assert abs(pairs.mean()) < 5 * pairs.std() / np.sqrt(pairs.size)


@pytest.mark.parametrize("epoch", [0, 1])
def test_redrawn_rows_are_independent_of_those_binarised_once(epoch):
    """Catches bits of the same random numbers, where both have the same seed."""
    (grey, _), (bits, _) = (datasets.load_digits(binarize=how) for how in (None, "sample"))
    rows = np.concatenate(list(datasets.Redrawn(grey.X)(epoch)))
    p = grey.X.astype(float)
    z = (rows - p) * (bits.X - p)
    assert abs(z.sum()) < 5 * np.sqrt(((p * (1 - p)) ** 2).sum())


def test_grey_values_that_rounding_has_put_beyond_one_are_redrawn_as_ones():
    grey = np.array([[0, np.nextafter(1, 2)], [1, 0.5]])
    (rows,) = datasets.Redrawn(grey)()
    assert rows[0].tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"X has values from 0 to 1\.000001; expected"):
        datasets.Redrawn(grey + 1e-6 * (grey == 1))


def test_redrawn_rows_are_a_function_of_the_seed_and_the_epoch(generator, monkeypatch):
    p, y = generator.random((50, 6)), np.arange(50)
    rows = datasets.Redrawn(p, y, random_state=3)
    first = list(rows(2))
    assert [x.shape for x in first[0]] == [(50, 6), (50,)]
    monkeypatch.setattr(datasets, "_CHUNK_ROWS", 8)
    again = [
        np.concatenate(x) for x in zip(*datasets.Redrawn(p, y, random_state=3)(2), strict=True)
    ]
    np.testing.assert_array_equal(again[0], first[0][0])
    np.testing.assert_array_equal(again[1], y)
    for other in (rows(1), datasets.Redrawn(p, y, random_state=4)(2)):
        assert (np.concatenate([x for x, _ in other]) != first[0][0]).any()
    assert pickle.loads(pickle.dumps(rows)).X.tobytes() == p.tobytes()


@pytest.mark.parametrize(
    ("X", "y", "sentence"),
    [
        (np.full((2, 3), 1.5), None, r"X has values from 1.5 to 1.5; expected probabilities"),
        (np.array([[0.5, np.nan]]), None, "X has values from nan to nan"),
        (
            np.array([[0, 255]]),
            None,
            r"from 0 to 255; expected probabilities in \[0, 1\], or bytes",
        ),
        (np.zeros(4), None, "X has 1 dimensions"),
        (np.zeros((4, 2)), [1, 2, 3], "y has 3 labels, but X has 4 rows"),
    ],
)
def test_what_cannot_be_redrawn_gets_a_sentence(X, y, sentence):
    with pytest.raises(ValueError, match=sentence):
        datasets.Redrawn(X, y)


# ------------------------------------------------------------------------------ swap noise


@pytest.mark.parametrize("kind", ["array", "sparse", "function"])
def test_swapped_entries_come_from_other_rows_of_their_column(kind, generator, monkeypatch):
    """Each entry is a number of its own. Within 5 deviations of the binomial over 400 epochs as
    many are replaced as `share` says, each other row of the chunk is the source as often.

    Deliberate bugs that this catches: an entry from its own row, or from another column; a row that
    is the source of more than its share; draws that are those of another epoch or chunk.
    """
    monkeypatch.setattr(datasets, "_CHUNK_ROWS", 10)
    X = 1.0 + np.arange(20 * 6).reshape(20, 6)
    make = {"sparse": sparse.csr_array, "function": lambda x: lambda: iter([x[:10], x[10:]])}
    rows = datasets.SwapNoise(make.get(kind, np.asarray)(X), share=0.3)
    drawn = np.array([np.concatenate(list(rows(epoch))) for epoch in range(400)])
    source, column = np.divmod(drawn.astype(int) - 1, 6)
    own = np.arange(20)[:, None]
    assert (column == np.arange(6)).all()
    assert (source // 10 == own // 10).all()
    swapped = source != own
    deviation = np.sqrt(0.3 * 0.7 / 400)
    assert (np.abs(swapped.mean(axis=0) - 0.3) < 5 * deviation).all()
    steps = np.bincount(((source - own) % 10)[swapped], minlength=10)[1:]
    n = swapped.sum()
    assert (np.abs(steps - n / 9) < 5 * np.sqrt(n * 8 / 81)).all()
    z = (swapped - 0.3) / np.sqrt(0.21)
    for axis in range(3):
        m = z.shape[axis]
        pairs = np.take(z, range(1, m), axis) * np.take(z, range(m - 1), axis)
        assert abs(pairs.mean()) < 5 / np.sqrt(pairs.size)


def test_swap_noise_is_a_function_of_the_seed_and_the_epoch(generator):
    X, y = generator.random((50, 6)), np.arange(50)
    rows = datasets.SwapNoise(X, y, random_state=3)
    ((first, labels),) = rows(2)
    assert labels is not y or labels.tolist() == y.tolist()
    ((again, _),) = pickle.loads(pickle.dumps(rows))(2)
    np.testing.assert_array_equal(again, first)
    for other in (rows(1), datasets.SwapNoise(X, y, random_state=4)(2)):
        assert (next(iter(other))[0] != first).any()
    ((same, _),) = datasets.SwapNoise(X, y, share=0)(0)
    np.testing.assert_array_equal(same, X)
    ((one,),) = datasets.SwapNoise(X[:1], share=0.9)(0)
    np.testing.assert_array_equal(one, X[0])


def test_swap_noise_of_redrawn_rows_has_draws_of_its_own(generator):
    """With the same seed. An entry that is replaced is as often one as any: were the numbers those
    that drew the bits, nearly all would be. What stands beside the rows stays."""
    p, y = np.full((400, 50), 0.5), np.arange(400)
    marked = np.arange(400 * 50, dtype=float).reshape(400, 50)
    bits = datasets.Redrawn(p, y)
    ones, n = 0, 0
    for epoch in range(5):
        ((drawn, labels),) = datasets.SwapNoise(bits, share=0.2)(epoch)
        assert labels.tolist() == y.tolist()
        assert drawn.dtype == np.uint8
        ((plain, _),) = bits(epoch)
        ((places, _),) = datasets.SwapNoise(marked, y, share=0.2)(epoch)
        swapped = places != marked
        np.testing.assert_array_equal(drawn[~swapped], plain[~swapped])
        ones, n = ones + plain[swapped].sum(), n + swapped.sum()
    assert abs(ones / n - 0.5) < 5 * 0.5 / np.sqrt(n)
    weight = np.ones(400)
    ((_, _, beside),) = datasets.SwapNoise(lambda: iter([(p, y, weight)]))(1)
    assert beside is weight


@pytest.mark.parametrize(
    ("labels", "mark"),
    [
        (np.arange(10, dtype=np.uint8), -1),
        (np.array([f"kind {k}" for k in range(10)]), "-1"),
        (np.array([f"kind {k}" for k in range(10)]).astype("S"), b"-1"),
        (np.array([k if k % 2 else f"kind {k}" for k in range(10)], object), -1),
    ],
)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_clean_rows_follow_the_changed_ones_without_a_label(make, labels, mark, generator):
    """Deliberate bugs that this catches: clean rows first, labels kept, the second chunk changed
    as the first one."""
    X, weight = generator.random((10, 6)).astype(np.float32), generator.random(10)
    pieces = [slice(0, 7), slice(7, 10)]

    def chunks():
        return iter([(make(X[some]), labels[some], weight[some]) for some in pieces])

    plain = list(datasets.SwapNoise(chunks, share=0.5, random_state=1)(2))
    both = list(datasets.SwapNoise(chunks, share=0.5, with_clean=True, random_state=1)(2))
    for (changed, y, w), (rows, labels_of_both, weights), some in zip(
        plain, both, pieces, strict=True
    ):
        np.testing.assert_array_equal(rows, np.concatenate([changed, X[some]]))
        assert labels_of_both.tolist() == [*y.tolist(), *[mark] * len(y)]
        np.testing.assert_array_equal(weights, np.concatenate([w, w]))
    # Weights that are said to be none stay so.
    bare = datasets.SwapNoise(lambda: iter([(make(X), labels, None)]), with_clean=True)
    ((rows, _, none),) = bare(2)
    assert len(rows) == 20 and none is None


def test_a_class_rbm_learns_from_changed_rows_and_clean_ones():
    """``log p(y|v)`` of the ones, ``log p(v)`` of the others: a single update of all rows is that
    of a table with both."""
    train, _ = datasets.load_digits()
    rows = datasets.SwapNoise(train.X[:40], train.y[:40], share=0.3, with_clean=True)
    options = {"objective": "semi-supervised", "alpha": 0.0, "beta": 0.1, "batch_size": 80}
    options |= {"n_iter": 1, "random_state": 0}
    model = RBMClassifier(8, **options).fit(lambda: rows(1))
    ((X, y),) = rows(1)
    same = RBMClassifier(8, **options).fit(X, y)
    assert model.classes_.tolist() == list(range(10))
    bare = datasets.SwapNoise(
        lambda: iter([(train.X[:40], train.y[:40], None)]), share=0.3, with_clean=True
    )
    without = RBMClassifier(8, **options).fit(lambda: bare(1))
    for key, x in same.params_.items():
        np.testing.assert_allclose(model.params_[key], x, atol=1e-6)
        np.testing.assert_array_equal(model.params_[key], without.params_[key])


@pytest.mark.parametrize("X", [np.zeros((4, 2)), lambda: iter([np.zeros((4, 2))])])
def test_clean_rows_need_labels_beside(X):
    with pytest.raises(ValueError, match="with_clean=True tells clean rows from changed ones"):
        list(datasets.SwapNoise(X, with_clean=True)(1))


@pytest.mark.parametrize(
    ("X", "options", "sentence"),
    [
        (np.zeros(4), {}, "X has 1 dimensions"),
        (np.zeros((4, 2)), {"y": [1, 2, 3]}, "y has 3 labels, but X has 4 rows"),
        (np.zeros((4, 2)), {"share": 1.0}, "share must be"),
        (np.zeros((4, 2)), {"share": -0.1}, "share must be"),
        (lambda: iter([]), {"y": [1]}, "y was given beside a function of chunks"),
    ],
)
def test_what_cannot_be_swapped_gets_a_sentence(X, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        datasets.SwapNoise(X, **options)
