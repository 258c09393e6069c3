"""A small model of every kind, what two of them have in common, and ways to spoil a file."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import numpy as np

import fastboltz as fb
from fastboltz.persistence import ModelFileError


def make_rows(n=60, n_features=6, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    prototypes = rng.integers(0, 2, (2, n_features))
    rows = prototypes[rng.integers(0, 2, n)]
    return np.where(rng.random(rows.shape) < 0.1, 1 - rows, rows).astype(dtype)


X = make_rows()
Y = np.roll(X, 1, axis=1)
SPINS = 2 * X - 1
LABELS = np.where(X.sum(axis=1) > 3, "many", "few")
WORDS = np.array(list(LABELS), dtype=object)
SEQUENCES = [make_rows(n, seed=n) for n in (9, 14, 5)]
SMALL = {"n_iter": 3, "batch_size": 20, "random_state": 0}
SQUARE = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2, 4)]


def _models():
    """Name -> (estimator, what fit is given, methods whose answers are compared)."""
    rows, pairs, labelled = (X,), (X, Y), (X, LABELS)
    answers = ("transform", "score_samples")
    schedules = fb.optimizers
    group = fb.BoltzmannMachine
    gated = {"n_pretraining": 1, **SMALL}
    return {
        "RBM": (fb.RBM(4, **SMALL), rows, answers),
        "RBM, double, momentum": (
            fb.RBM(4, momentum=0.5, l2=1e-4, **SMALL),
            (X.astype(float),),
            answers,
        ),
        "RBM, tempered, Adam": (
            fb.RBM(4, method="tempered", optimizer="adam", **SMALL),
            rows,
            answers,
        ),
        "RBM, declared": (
            fb.RBM(
                4,
                visible=fb.Gaussian,
                hidden=fb.ReLU(4),
                method="cd",
                optimizer=fb.optimizers.Adam(0.8),
                learning_rate=schedules.Exponential(1e-3, 1e-4),
                **SMALL,
            ),
            rows,
            ("transform",),
        ),
        "RBM, one-hot": (
            fb.RBM(3, visible=fb.Categorical(3, 2), hidden="spin", **SMALL),
            (np.stack([X[:, :3], 1 - X[:, :3]], axis=2).reshape(len(X), 6),),
            answers,
        ),
        "BernoulliRBM": (fb.BernoulliRBM(4, n_iter=3, random_state=0), rows, answers),
        "RBMClassifier": (
            fb.RBMClassifier(4, early_stopping=True, **SMALL),
            labelled,
            ("predict_proba", "predict", "transform"),
        ),
        "RBMClassifier, objects": (
            fb.RBMClassifier(4, objective="generative", method="pcd", **SMALL),
            (X, WORDS),
            ("predict_proba", "predict", "transform"),
        ),
        "ClassGatedRBMClassifier": (
            fb.ClassGatedRBMClassifier(4, n_factors=2, momentum=0.9, **SMALL),
            labelled,
            ("predict_proba", "predict"),
        ),
        "TwoGroupRBMClassifier": (
            fb.TwoGroupRBMClassifier(4, n_nuisance=2, **SMALL),
            labelled,
            ("predict_proba",),
        ),
        "GatedRBM": (fb.GatedRBM(3, n_factors=2, **SMALL), pairs, ()),
        "PointwiseGatedRBM": (fb.PointwiseGatedRBM((3, 2), **gated), rows, ("transform",)),
        "PointwiseGatedRBMClassifier": (
            fb.PointwiseGatedRBMClassifier((3, 2), **gated),
            labelled,
            ("predict_proba", "transform"),
        ),
        "HigherOrderBoltzmannMachine": (
            fb.HigherOrderBoltzmannMachine(n_hidden=2, edges=SQUARE, **SMALL),
            rows,
            ("transform",),
        ),
        "BoltzmannMachine": (
            group(
                {"v": "spin", "h": fb.Bernoulli(2)},
                ["v_i h_j", fb.Hyperedges("v", SQUARE)],
                visible="v",
                method="pcd",
                **SMALL,
            ),
            (SPINS,),
            ("transform",),
        ),
        "DeepBoltzmannMachine": (fb.DeepBoltzmannMachine((4, 3), **gated), rows, answers),
        "DeepBeliefNetwork": (fb.DeepBeliefNetwork([4, 3], **SMALL), rows, answers),
        "SigmoidBeliefNetwork": (
            fb.SigmoidBeliefNetwork((4, 3), method="nvil", early_stopping=True, **SMALL),
            rows,
            ("transform",),
        ),
        "RNNRBM": (
            fb.RNNRBM(4, 3, recurrent="gru", method="pcd", n_gibbs=2, n_iter=3, random_state=0),
            (SEQUENCES,),
            ("transform", "score_samples"),
        ),
        "RNNRBM, RTRBM": (
            fb.RNNRBM(4, recurrent="rtrbm", n_gibbs=2, n_iter=3, random_state=0),
            (SEQUENCES,),
            ("transform",),
        ),
    }


MODELS = _models()


def bytes_of(x):
    """A value with everything in it as comparable bytes."""
    if isinstance(x, (list, tuple)):
        return [bytes_of(one) for one in x]
    if isinstance(x, dict):
        return {k: bytes_of(v) for k, v in x.items() if k != "seconds"}
    x = np.asarray(x)
    return x.dtype.str, x.shape, (x.tolist() if x.dtype.kind == "O" else x.tobytes())


def chains(model):
    training = vars(model).get("_training")
    if training is None:
        return [chains(rbm) for rbm in model.rbms_]
    return [None if c is None else bytes_of(dict(c.values)) for c in training.phases.chains]


def learnt(model):
    """All that a later answer can depend on."""
    if hasattr(model, "rbms_"):
        return [learnt(rbm) for rbm in model.rbms_]
    return bytes_of([model.params_, model.history_]), chains(model)


def draw(model, data):
    if isinstance(model, fb.GatedRBM):
        return model.sample(data[0][:5], 3)
    return model.sample(4)


# ---------------------------------------------------------------------------------- spoilt files


def rewritten(path, change=None, members=None):
    """The file with its parts changed and all check sums made right again."""
    with zipfile.ZipFile(path) as archive:
        parts = {k: archive.read(k) for k in archive.namelist() if k != "SHA256SUMS"}
    tree = json.loads(parts["model.json"])
    if change is not None:
        change(tree)
    parts["model.json"] = json.dumps(tree).encode()
    parts |= members or {}
    sums = "".join(f"{hashlib.sha256(x).hexdigest()}  {k}\n" for k, x in parts.items())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for k, x in (parts | {"SHA256SUMS": sums}).items():
            archive.writestr(k, x)
    return out.getvalue()


def mutated(data, rng):
    """A file with something done to it: bits, bytes, ends, blocks, members, or fields."""
    data = bytearray(data)
    kind = rng.integers(7)
    at = int(rng.integers(len(data)))
    if kind == 0:
        for place in rng.integers(0, len(data), rng.integers(1, 9)):
            data[place] ^= 1 << rng.integers(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[:at]
    elif kind == 3:
        del data[at : at + int(rng.integers(1, 64))]
    elif kind == 4:
        data[at:at] = rng.bytes(int(rng.integers(1, 64)))
    elif kind == 5:
        size = int(rng.integers(1, 200))
        to = int(rng.integers(len(data)))
        data[at : at + size], data[to : to + size] = data[to : to + size], data[at : at + size]
    else:
        # Bits where they do most: in the directory at the end.
        start = (
            bytes(data).rfind(b"PK\x01\x02")
            if rng.random() < 0.5
            else bytes(data).find(b"PK\x01\x02")
        )
        place = int(rng.integers(start, len(data)))
        data[place] ^= 1 << rng.integers(8)
    return bytes(data)


def swapped(path, rng):
    """A file with two fields of ``model.json``, or two members, swapped, and right check sums."""
    with zipfile.ZipFile(path) as archive:
        arrays = [k for k in archive.namelist() if k.endswith(".npy")]
        parts = {k: archive.read(k) for k in arrays}
    one, two = rng.choice(arrays, 2, replace=False)
    if rng.random() < 0.3:
        return rewritten(path, members={one: parts[two], two: parts[one]})

    def change(tree):
        slots = []

        def walk(x):
            items = (
                enumerate(x) if isinstance(x, list) else x.items() if isinstance(x, dict) else ()
            )
            for k, v in items:
                slots.append((x, k))
                walk(v)

        walk(tree["model"])
        (a, i), (b, j) = (slots[k] for k in rng.integers(0, len(slots), 2))
        # Copies, lest a value come to stand within itself.
        v, w = json.loads(json.dumps([a[i], b[j]]))
        a[i], b[j] = w, v

    return rewritten(path, change)


def check_mutation(path, data, original, expected):
    """Whether mutated data are refused; an error of the test if they load as something else."""
    if data == original:
        return False
    path.write_bytes(data)
    try:
        model = fb.load(path)
    except ModelFileError as error:
        assert len(str(error)) > 20
        return True
    assert learnt(model) == expected
    return False
