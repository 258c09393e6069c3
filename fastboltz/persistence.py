"""Files of models, and checkpoints of trainings. Loading a file never runs code.

A file is a zip archive, uncompressed, of arrays in NumPy's format (``numpy.load`` opens it too),
``model.json``, which says what the arrays are, and ``SHA256SUMS``, the check sum of every other
member, as ``sha256sum --check`` reads it. In ``model.json`` an object stands as the name of its
class and the values of its fields. Names are looked up in the table of this module, never imported;
so what a file can make is what is in the table, and a callable of one's own is not.

It is written next to its place and then put there, so that at every moment there is a whole file.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import platform
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from fastboltz_ext import packed

from . import rng
from .energy import Energy
from .gibbs import ChainState, PackedValues
from .likelihood import LogPartition
from .objectives import LogLikelihood, PhaseState
from .optimizers import SGD, Adam, Constant, Exponential, InverseTime, Linear
from .tempering import TemperedState
from .terms import Hyperedges
from .training import Progress, TrainingState
from .units import BY_NAME, Unit
from .validation import check_count, check_flag

#: Version of the format that is written. Files of versions from 1 to this one are read. Version 2
#: has the states of callbacks.
FORMAT = 2
_KIND = "fastboltz model"
_TREE, _SUMS = "model.json", "SHA256SUMS"
#: Kinds of NumPy's types that are kept as arrays: numbers, truth values, text and bytes.
_ARRAYS = "biufcUS"
_BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox)
}
#: Attributes of a model that belong to one call of `fit`, not to the model.
_PASSING = ("_monitor", "_ranks")
#: Share of the time that checkpoints may take.
_SHARE = 0.02
#: Seconds from the beginning of a training to its first checkpoint at the earliest.
_FIRST = 1.0
#: Parameters that have no part in what is learnt.
_NO_PART = ("callbacks", "n_threads", "verbose")


class ModelFileError(ValueError):
    """A file is not that of a model, or not as it was written."""


# -- the table: what may stand in a file -----------------------------------------------------------


def _fields(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind))


@cache
def _objects() -> dict[type, tuple[str, ...]]:
    """Class -> what its constructor is given, which are attributes of the same names."""
    from .belief import BeliefNet, BoundState
    from .recurrent import GRU, MeanField, RowChains, SequencePhaseState, Tanh

    return {
        **{kind: _fields(kind) for kind in (Constant, Linear, InverseTime, Exponential)},
        LogLikelihood: _fields(LogLikelihood),
        SGD: ("momentum",),
        Adam: ("beta1", "beta2", "epsilon"),
        Tanh: (),
        GRU: (),
        MeanField: ("term", "state", "group"),
        BeliefNet: ("sizes", "offsets", "baseline_units", "n_threads"),
        rng.Address: rng.Address._fields,
        **{
            kind: _fields(kind)
            for kind in (
                *(ChainState, TemperedState, RowChains, LogPartition),
                *(PhaseState, SequencePhaseState, BoundState, TrainingState),
            )
        },
    }


_UNITS = {kind.__name__: kind for kind in BY_NAME.values()}
#: Estimators, each of which names itself here where it is defined.
_ESTIMATORS: dict[str, type] = {}


class SavedEstimator:
    """An estimator that can be saved to a file."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.startswith(f"{__package__}.models.") and not cls.__name__.startswith("_"):
            _ESTIMATORS[cls.__name__] = cls

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, which `fastboltz.load` reads.

        The file has all that the model has: parameters, hyper-parameters, chains, the optimizer's
        state, the place in the sequence of random numbers, the history. What is loaded answers, and
        learns on, with the same bytes. The file is put in its place when it is whole; one that was
        there is replaced.

        Of the parameter `callbacks` the file has `Checkpoint`, and the states of those that have a
        ``state_dict``, but not these themselves, nor their held-out data: give them again,
        ``fastboltz.load(path, callbacks=[...])``.

        Parameters
        ----------
        path : str or path
            Name of the file.

        Raises
        ------
        TypeError
            If the model has a part that no file can hold, such as a callable of one's own; the
            sentence names it.
        """
        write(self, path)


# -- values as JSON and arrays ---------------------------------------------------------------------


class _Encoder:
    """Turns values into what JSON can say, and collects the arrays."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        # An array that stands in two places is one array again when it is read.
        self._names: dict[int, str] = {}

    def __call__(self, x: Any, where: str) -> Any:
        """Encode a value; ``where`` says in words which it is."""
        if x is None or type(x) in (bool, int, str):
            return x
        if type(x) is float:
            return x if np.isfinite(x) else {"is": "float", "value": repr(x)}
        if isinstance(x, np.ndarray):
            return self._array(x, where)
        if isinstance(x, np.generic):
            if x.dtype.kind not in _ARRAYS:
                raise _unknown(where, x)
            data = base64.b64encode(x.tobytes()).decode()
            return {"is": "number", "dtype": x.dtype.str, "bytes": data}
        if type(x) is list:
            return [self(one, f"{where}[{k}]") for k, one in enumerate(x)]
        if type(x) is tuple:
            return {"is": "tuple", "of": self(list(x), where)}
        if type(x) is range:
            return {"is": "range", "of": [x.start, x.stop, x.step]}
        if type(x) is dict:
            keys = self(list(x), f"the keys of {where}")
            values = [self(v, f"{where}[{k!r}]") for k, v in x.items()]
            return {"is": "dict", "of": [keys, values]}
        if isinstance(x, np.dtype) and x.kind in _ARRAYS:
            return {"is": "dtype", "of": x.str}
        if isinstance(x, type) and x in _UNITS.values():
            return {"is": "unit type", "of": x.__name__}
        return self._object(x, where)

    def _array(self, x: np.ndarray, where: str) -> Any:
        if type(x) is not np.ndarray:
            x = np.asarray(x)
        if x.dtype.kind == "O":
            values = self(x.ravel().tolist(), where)
            return {"is": "objects", "shape": list(x.shape), "of": values}
        if x.dtype.kind not in _ARRAYS:
            raise _unknown(where, x)
        name = self._names.get(id(x))
        if name is None:
            name = f"{len(self.arrays)}.npy"
            self.arrays[name] = x
            self._names[id(x)] = name
        return {"is": "array", "of": name}

    def _object(self, x: Any, where: str) -> Any:
        kind = type(x)
        name = kind.__name__
        if kind in _objects():
            values = {f: self(getattr(x, f), f"{where}.{f}") for f in _objects()[kind]}
            return {"is": "object", "class": name, "of": values}
        if _UNITS.get(name) is kind:
            return {"is": "unit", "class": name, "shape": list(x.shape)}
        if _ESTIMATORS.get(name) is kind:
            return self.estimator(x)
        if kind is Checkpoint:
            return {"is": "checkpoint", "of": [x.path, x.every, x.resume]}
        if kind is Energy:
            terms = [t if isinstance(t, Hyperedges) else t.name for t in x.terms]
            return {
                "is": "energy",
                "groups": self(x.groups, f"the groups of {where}"),
                "terms": self(terms, f"the terms of {where}"),
            }
        if kind is Hyperedges:
            units = np.array([i for edge in x.edges for i in edge], dtype=np.int64)
            orders = np.array([len(edge) for edge in x.edges], dtype=np.int64)
            return {
                "is": "hyperedges",
                "of": [x.group, self(units, where), self(orders, where), x.name],
            }
        if kind is packed.Bits:
            # A bit a unit, rows one after the other, whatever the layout in memory is.
            rows = np.packbits(x.unpack() == 1, axis=1)
            shape = [x.n_rows, x.n_units]
            return {"is": "bits", "shape": shape, "low": x.low, "of": self(rows, where)}
        if kind is PackedValues:
            shapes = {g: tuple(s) for g, s in x.shapes.items()}
            of = [self(v, where) for v in (x.bits, shapes, x.dtype)]
            return {"is": "packed", "of": of}
        if kind is np.random.Generator and type(x.bit_generator).__name__ in _BIT_GENERATORS:
            return {"is": "generator", "of": self(x.bit_generator.state, where)}
        if kind is np.random.RandomState:
            return {"is": "random state", "of": self(x.get_state(legacy=False), where)}
        raise _unknown(where, x)

    def estimator(self, model: Any, with_callbacks: bool = True) -> Any:
        """An estimator: its constructor's arguments, and all else that it has."""
        kind = type(model)
        name = kind.__name__
        if _ESTIMATORS.get(name) is not kind:
            raise TypeError(
                f"{name} is not an estimator of fastboltz (it is defined in {kind.__module__}), so "
                f"fastboltz.load could not make it again. Use pickle or joblib, which import it."
            )
        skipped = _PASSING if with_callbacks else (*_PASSING, "callbacks")
        given = model.get_params(deep=False)
        of = {k: self(_without_states(k, v), k) for k, v in given.items() if k not in skipped}
        rest = {k: v for k, v in vars(model).items() if k not in given and k not in skipped}
        learnt = {k: self(v, k) for k, v in rest.items()}
        return {"is": "estimator", "class": name, "given": of, "learnt": learnt}


def _without_states(name: str, x: Any) -> Any:
    """The parameter `callbacks` without those that the file has by their states alone."""
    if name != "callbacks" or x is None:
        return x
    return [one for one in x if not hasattr(one, "state_dict")] or None


def _unknown(where: str, x: Any) -> TypeError:
    is_ours = type(x).__module__.startswith(f"{__package__}.")
    if callable(x) and not is_ours:
        what = getattr(x, "__qualname__", type(x).__qualname__)
        return TypeError(
            f"{where} is {what!r}, which is your own code: a file that runs no code when it is "
            f"loaded cannot hold it. Take it out before (model.set_params(...=None)) and put it "
            f"back after loading, or use pickle or joblib."
        )
    if isinstance(x, (np.ndarray, np.generic)):
        return TypeError(
            f"{where} has values of type {x.dtype}; a model file holds numbers and text alone."
        )
    return TypeError(
        f"{where} is a {type(x).__module__}.{type(x).__qualname__}, which a model file cannot "
        f"hold. Take it out before, or use pickle or joblib."
    )


class _Decoder:
    """Makes values of what `_Encoder` wrote. Whatever it does not expect is an error."""

    def __init__(self, arrays: Mapping[str, np.ndarray], classes: Callable[[str], type]) -> None:
        self.arrays = arrays
        self.classes = classes

    def __call__(self, x: Any) -> Any:
        if isinstance(x, list):
            return [self(one) for one in x]
        if not isinstance(x, dict):
            return x
        if x["is"] not in _KINDS:
            raise ValueError(f"nothing is a {x['is']!r}")
        return getattr(self, "_" + x["is"].replace(" ", "_"))(x)

    def _float(self, x: Any) -> float:
        return float(x["value"])

    def _array(self, x: Any) -> np.ndarray:
        return self.arrays[x["of"]]

    def _number(self, x: Any) -> np.generic:
        return np.frombuffer(base64.b64decode(x["bytes"]), _dtype(x["dtype"]), 1)[0]

    def _tuple(self, x: Any) -> tuple[Any, ...]:
        return tuple(self(_list(x["of"])))

    def _range(self, x: Any) -> range:
        return range(*_list(x["of"]))

    def _dict(self, x: Any) -> dict[Any, Any]:
        keys, values = self(_list(x["of"]))
        return dict(zip(keys, values, strict=True))

    def _dtype(self, x: Any) -> np.dtype:
        return _dtype(x["of"])

    def _unit_type(self, x: Any) -> type[Unit]:
        return _UNITS[x["of"]]

    def _unit(self, x: Any) -> Unit:
        return _UNITS[x["class"]](*_list(x["shape"]))

    def _objects(self, x: Any) -> np.ndarray:
        values = self(_list(x["of"]))
        out = np.empty(len(values), dtype=object)
        out[:] = values
        return out.reshape(x["shape"])

    def _object(self, x: Any) -> Any:
        kind = next((k for k in _objects() if k.__name__ == x["class"]), None)
        if kind is None:
            raise ValueError(f"no class {x['class']!r} may stand in a file")
        # A class may have got fields since the file was written; these have defaults then.
        if unknown := set(x["of"]) - set(_objects()[kind]):
            raise ValueError(f"{x['class']} has no {sorted(unknown)}")
        return kind(**{f: self(v) for f, v in x["of"].items()})

    def _energy(self, x: Any) -> Energy:
        return Energy(self(x["groups"]), self(_list(x["terms"])))

    def _hyperedges(self, x: Any) -> Hyperedges:
        group, units, orders, name = self(_list(x["of"]))
        ends = np.cumsum(orders)
        if len(units) != (ends[-1] if len(ends) else 0) or (orders < 1).any():
            raise ValueError("units of hyperedges do not match their orders")
        edges = [tuple(edge.tolist()) for edge in np.split(units, ends[:-1])] if len(ends) else []
        return Hyperedges(group, edges, name)

    def _bits(self, x: Any) -> packed.Bits:
        rows, low = self(x["of"]), x["low"]
        n, m = (check_count("rows and units of bits", k, minimum=0) for k in _list(x["shape"]))
        if rows.shape != (n, -(-m // 8)) or rows.dtype != np.uint8 or low not in (0, -1):
            raise ValueError(f"bytes of shape {rows.shape} are no bits of shape {(n, m)}")
        ones = np.unpackbits(rows, axis=1, count=m)
        return packed.Bits.pack(np.where(ones, 1, low).astype(np.float32), low=low)

    def _packed(self, x: Any) -> PackedValues:
        bits, shapes, dtype = self(_list(x["of"]))
        for g, b in bits.items():
            if not isinstance(b, packed.Bits) or b.n_units != int(np.prod(shapes[g])):
                raise ValueError(f"bits of {g!r} do not have shape {shapes[g]}")
        return PackedValues(bits, shapes, dtype)

    def _generator(self, x: Any) -> np.random.Generator:
        state = self(x["of"])
        bits = _BIT_GENERATORS[state["bit_generator"]](0)
        bits.state = state
        return np.random.Generator(bits)

    def _random_state(self, x: Any) -> np.random.RandomState:
        out = np.random.RandomState(0)
        out.set_state(self(x["of"]))
        return out

    def _checkpoint(self, x: Any) -> Checkpoint:
        path, every, resume = _list(x["of"])
        return Checkpoint(path, every=every, resume=resume)

    def _estimator(self, x: Any) -> Any:
        kind = self.classes(x["class"])
        model = kind(**{k: self(v) for k, v in x["given"].items()})
        for name, value in x["learnt"].items():
            if not name.isidentifier() or name.startswith("__") or callable(vars(kind).get(name)):
                raise ValueError(f"{name!r} is no attribute that a model learns")
            setattr(model, name, self(value))
        _check_whole(model)
        return model


#: What "is" may say; a method of `_Decoder` makes each.
_KINDS = {
    *("float", "number", "array", "objects", "tuple", "range", "dict", "dtype"),
    *("unit", "unit type", "object", "energy", "hyperedges", "bits", "packed"),
    *("generator", "random state", "checkpoint", "estimator"),
}


def _dtype(text: str) -> np.dtype:
    out = np.dtype(text)
    if not isinstance(text, str) or out.kind not in _ARRAYS or out.fields:
        raise ValueError(f"no numbers or text: {text!r}")
    return out


def _list(x: Any) -> list[Any]:
    if not isinstance(x, list):
        raise ValueError(f"expected a list; got {type(x).__name__}")
    return x


def _check_whole(model: Any) -> None:
    """Raise an error if what a model learnt does not fit its declaration."""
    learnt = vars(model)
    declared = learnt.get("energy_", learnt.get("network_"))
    if declared is None:
        return
    params = learnt["params_"]
    for key, shape in declared.parameter_shapes().items():
        if not isinstance(params[key], np.ndarray) or params[key].shape != shape:
            raise ValueError(f"parameter {key!r} does not have shape {shape}")
        if params[key].dtype != learnt["_dtype"]:
            raise ValueError(f"parameter {key!r} is not of type {learnt['_dtype']}")
    training = learnt["_training"]
    if not isinstance(training, TrainingState) or not isinstance(training.phases, PhaseState):
        raise TypeError("the model has no state of its training")
    groups = declared.groups if isinstance(declared, Energy) else {}
    for chains in training.phases.chains:
        levels = chains.levels if isinstance(chains, TemperedState) else [chains]
        for level in levels:
            if level is None:
                continue
            for g, x in level.values.items():
                if x.shape != (level.n_chains, *groups[g].shape):
                    raise ValueError(f"chains of {g!r} have shape {x.shape}")


# -- the archive -----------------------------------------------------------------------------------


def write(model: Any, path: str | os.PathLike[str], *, with_callbacks: bool = True) -> None:
    """Write an estimator to a file, which is there as a whole or not at all.

    Parameters
    ----------
    model : estimator
    path : str or path
    with_callbacks : bool
        Whether the parameter `callbacks` is a part of the file; None stands there else.
    """
    encode = _Encoder()
    tree = {
        "kind": _KIND,
        "format": FORMAT,
        "versions": _versions(),
        "model": encode.estimator(model, with_callbacks),
    }
    text = json.dumps(tree, allow_nan=False).encode()
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        sums = []
        for name, data in [(_TREE, [text]), *((k, _npy(x)) for k, x in encode.arrays.items())]:
            total = hashlib.sha256()
            # The time of writing is left out: the same model is the same file.
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                for part in data:
                    total.update(part)
                    member.write(part)
            sums.append(f"{total.hexdigest()}  {name}\n")
        archive.writestr(zipfile.ZipInfo(_SUMS), "".join(sums))


def _versions() -> dict[str, str]:
    names = ("fastboltz", "numpy", "scipy", "scikit-learn")
    return {"python": platform.python_version()} | {name: _version(name) for name in names}


@cache
def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from its folder, without being installed
        return "unknown"


def _npy(x: np.ndarray) -> Iterator[Any]:
    """An array in NumPy's format, part after part."""
    if not (x.flags.c_contiguous or x.flags.f_contiguous):
        x = np.ascontiguousarray(x)
    head = io.BytesIO()
    npy.write_array_header_1_0(head, npy.header_data_from_array_1_0(x))
    yield head.getvalue()
    yield x.tobytes("A")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[io.BufferedWriter]:
    """A file that takes its place, and that of one that is there, when it is whole and on disk."""
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder; give the name of a file in it.")
    if not place.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {os.fspath(path)!r}: there is no folder {str(place.parent)!r}; make it "
            f"first."
        )
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, place)
        _sync_folder(place.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the new name on disk too, where folders can be opened."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(number)
    finally:
        os.close(number)


def read(path: str | os.PathLike[str], classes: Callable[[str], type]) -> Any:
    """The estimator in a file.

    Parameters
    ----------
    path : str or path
    classes : callable
        Gives the class of an estimator by its name.

    Raises
    ------
    ModelFileError
        If it is not the file of a model, or not as it was written.
    """
    name = os.fspath(path)
    tree, arrays = _open(name)
    try:
        if tree["model"]["is"] != "estimator":
            raise ValueError("it holds no estimator")
        return _Decoder(arrays, classes)(tree["model"])
    except Exception as error:
        raise ModelFileError(
            f"{name!r} cannot be read: what it says does not make a model "
            f"({type(error).__name__}: {error}). Its check sums are right, so it was written so."
        ) from error


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file says of itself: its ``format``, the ``versions`` that wrote it, its ``class``."""
    tree, _ = _open(os.fspath(path))
    return {k: tree.get(k) for k in ("format", "versions")} | {"class": tree["model"]["class"]}


def _open(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Checked contents of a file: what ``model.json`` says, and the arrays."""
    with open(name, "rb") as file:
        start = file.read(4)
        if start[:2] == b"\x80\x04" or start[:2] == b"\x80\x05":
            raise ModelFileError(
                f"{name!r} is a pickle, not the file of a fastboltz model. Loading a pickle runs "
                f"code: if you trust where it comes from, use pickle.load or joblib.load."
            )
        if start[:2] != b"PK":
            raise ModelFileError(
                f"{name!r} is not the file of a fastboltz model, or its beginning is lost. "
                f"fastboltz.load reads what model.save(path) wrote."
            )
        try:
            members = _members(file)
        except Exception as error:  # zipfile raises errors of many kinds
            raise ModelFileError(
                f"{name!r} is cut short or damaged ({error}). Take a copy of the file, or an "
                f"earlier checkpoint."
            ) from error
    if _TREE not in members:
        raise ModelFileError(
            f"{name!r} is a zip archive, but not that of a fastboltz model: it has no {_TREE}. "
            f"fastboltz.load reads what model.save(path) wrote."
        )
    _check_sums(name, members)
    try:
        tree = json.loads(members[_TREE])
        is_ours = tree["kind"] == _KIND and isinstance(tree["format"], int)
    except Exception:
        is_ours = False
    if not is_ours:
        raise ModelFileError(f"{name!r} is not the file of a fastboltz model: {_TREE} is not ours.")
    if tree["format"] not in range(1, FORMAT + 1):
        version = tree.get("versions", {}).get("fastboltz", "unknown")
        raise ModelFileError(
            f"{name!r} has format version {tree['format']}, written by fastboltz {version}; this "
            f"fastboltz ({_version('fastboltz')}) reads versions up to {FORMAT}. Update fastboltz."
        )
    try:
        arrays = {k: _array(x) for k, x in members.items() if k not in (_TREE, _SUMS)}
    except Exception as error:
        raise ModelFileError(f"{name!r} has an array that cannot be read ({error}).") from error
    return tree, arrays


def _members(file: Any) -> dict[str, bytes]:
    """Members of an archive; never more bytes than the file has."""
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if len({one.filename for one in infos}) < len(infos):
            raise ValueError("a member is there twice")
        if any(one.compress_type != zipfile.ZIP_STORED for one in infos):
            raise ValueError("a member is compressed")
        if sum(one.file_size for one in infos) > size:
            raise ValueError("members are longer than the file")
        return {one.filename: archive.read(one) for one in infos}


def _check_sums(name: str, members: Mapping[str, bytes]) -> None:
    try:
        lines = members[_SUMS].decode("ascii").splitlines()
        sums = {line[66:]: line[:64] for line in lines}
    except (KeyError, UnicodeDecodeError):
        sums = {}
    own = {k: hashlib.sha256(x).hexdigest() for k, x in members.items() if k != _SUMS}
    wrong = sorted(k for k in {*sums, *own} if sums.get(k) != own.get(k))
    if wrong:
        raise ModelFileError(
            f"{name!r} was altered after it was written: the check sum of {wrong[0]!r} is not that "
            f"in {_SUMS}. Take a copy of the file, or an earlier checkpoint."
        )


def _array(data: bytes) -> np.ndarray:
    """An array in NumPy's format, in memory of its own."""
    file = io.BytesIO(data)
    if npy.read_magic(file) != (1, 0):
        raise ValueError("expected version 1.0 of NumPy's format")
    shape, is_fortran, dtype = npy.read_array_header_1_0(file)
    if dtype.kind not in _ARRAYS or dtype.fields is not None:
        raise ValueError(f"values of type {dtype}")
    start = file.tell()
    if len(data) - start != int(np.prod([*shape, dtype.itemsize], dtype=object)):
        raise ValueError(f"{len(data) - start} bytes for shape {shape} of {dtype}")
    if is_fortran:
        shape = shape[::-1]
    out = np.empty(shape, dtype.newbyteorder("="))
    if out.size:
        out[...] = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return out.T if is_fortran else out


# -- checkpoints -----------------------------------------------------------------------------------


class Checkpoint:
    """A callback that keeps a training in a file, so that it can go on after it was stopped.

    Give it in the estimator's `callbacks`. A training that was killed at any moment, or stopped by
    Ctrl-C, and is run again with ``resume=True`` ends with the same bytes as one that was never
    stopped (but for the seconds in ``history_``), if it has the same parameters and data; both are
    compared. The file is a model file like another: `fastboltz.load` gives the model as it stood
    or, when the training is over, as `fit` left it.

    It is a callback, and not an argument of `fit`, because it has no part in what is learnt, and
    because `fit` keeps scikit-learn's signature in every estimator.

    Parameters
    ----------
    path : str or path
        Name of the file. A `DeepBeliefNetwork` has one for each of its RBMs, with ``.h1``, ``.h2``,
        ... at the end.
    every : int, default=None
        Epochs between two saves. None saves after every epoch, from the first second on, unless
        saving would then take more than a fiftieth of the time. The last epoch, and Ctrl-C, save in
        any case.
    resume : bool, default=False
        What `fit` does with a file that is there: go on with its training, or, by default, say
        that it is there. Where there is none, `fit` begins from the start either way.

    Notes
    -----
    Of other callbacks the file has what their ``state_dict()`` answers, which their
    ``load_state_dict`` is handed when the training goes on: give them again.
    `fastboltz.callbacks.EarlyStopping` and `fastboltz.callbacks.Monitor` have these methods, and
    your own may. `partial_fit` saves after each call and never resumes: go on with
    ``fastboltz.load(path).partial_fit(X)``.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import fastboltz as fb
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 20, axis=0)
    >>> path = os.path.join(tempfile.mkdtemp(), "rbm.fbm")
    >>> keep = fb.Checkpoint(path, resume=True)
    >>> rbm = fb.RBM(2, n_iter=10, random_state=0, callbacks=[keep]).fit(X)
    >>> fb.load(path).n_iter_
    10
    """

    #: It is called after all others, so that it knows whether they end the training.
    comes_last = True

    def __init__(
        self, path: str | os.PathLike[str], *, every: int | None = None, resume: bool = False
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be the name of a file; got {path!r}.")
        self.path = os.fspath(path)
        self.every = None if every is None else check_count("every", every)
        self.resume = check_flag("resume", resume)
        self._not_before = -np.inf

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r}, every={self.every}, resume={self.resume})"

    def __call__(self, progress: Progress) -> None:
        """Save, where it is time."""
        state = progress.state
        is_last = state.finished or state.epoch >= progress.n_iter
        if self.every is None:
            is_time = time.perf_counter() >= self._not_before
        else:
            is_time = state.epoch % self.every == 0
        if is_last or is_time:
            self._save(progress)

    def over(self, progress: Progress) -> None:
        """Save what early stopping put back, when a training has ended by itself."""
        if not progress.is_whole:
            return  # a pass of `partial_fit`, which nothing is put back after
        try:
            params = read(self.path, lambda name: type(progress.model)).params_
        except FileNotFoundError:  # moved away in the meantime
            self._save(progress)
            return
        if any(params[key].tobytes() != x.tobytes() for key, x in progress.params.items()):
            self._save(progress)

    def interrupted(self, progress: Progress) -> str:
        """Save a training that is stopped by Ctrl-C; returns a sentence that says how to go on."""
        self._save(progress)
        return f"Saved in {self.path!r}: fit with Checkpoint({self.path!r}, resume=True) goes on."

    def _save(self, progress: Progress) -> None:
        if not isinstance(progress.model, SavedEstimator):
            raise TypeError(
                f"a Checkpoint saves an estimator of fastboltz, but this training is of "
                f"{progress.model!r}."
            )
        begin = time.perf_counter()
        write(progress.model, self.path, with_callbacks=False)
        end = time.perf_counter()
        self._not_before = end + (1 / _SHARE - 1) * (end - begin)

    def of_layer(self, number: int) -> Checkpoint:
        """The checkpoint of one model of a stack."""
        return Checkpoint(f"{self.path}.h{number}", every=self.every, resume=self.resume)

    def exists(self) -> bool:
        """Whether there is a training to go on with; a sentence if there is, unasked for."""
        if not os.path.exists(self.path):
            return False
        if not self.resume:
            raise FileExistsError(
                f"there is a checkpoint in {self.path!r} already. Go on with its training by "
                f"Checkpoint({self.path!r}, resume=True), or delete it to begin anew."
            )
        return True

    def take_up(self, model: Any, fingerprint: str) -> bool:
        """Put a model to where the training in the file stands, where there is a file.

        Parameters
        ----------
        model : estimator
            Whose training has been begun.
        fingerprint : str
            Of the training data.

        Returns
        -------
        bool
            Whether there was one.
        """
        self._not_before = time.perf_counter() + _FIRST
        now = {k: x for k, x in model.get_params(deep=False).items() if k not in _NO_PART}
        # A parameter that no file can hold is told of before the first epoch, not after it.
        encoded = {k: _encoded(k, x) for k, x in now.items()}
        if not self.exists():
            return False
        kind = type(model)

        def classes(name: str) -> type:
            if name != kind.__name__:
                raise ValueError(f"it holds a {name}, but a {kind.__name__} is to go on")
            return kind

        saved = read(self.path, classes)
        for name, value in now.items():
            then = getattr(saved, name)
            if name == "random_state" and not isinstance(value, (int, np.integer)):
                continue
            if _encoded(name, then) != encoded[name]:
                raise ValueError(
                    f"the training in {self.path!r} has {name}={then!r}, but now it is "
                    f"{value!r}; a training goes on with the parameters that it began with. Set "
                    f"it back, or give another path to begin anew."
                )
        if saved._training.fingerprint != fingerprint:
            raise ValueError(
                f"the training in {self.path!r} learns from other data than these (their shape, "
                f"type, values or weights differ). Give the same data, or another path to begin "
                f"anew."
            )
        for name, value in vars(saved).items():
            if name not in now and name not in (*_NO_PART, *_PASSING):
                setattr(model, name, value)
        return True


def is_same(name: str, a: Any, b: Any) -> bool:
    """Whether two values of a parameter say the same."""
    try:
        return _encoded(name, a) == _encoded(name, b)
    except TypeError:  # one's own units, say, which no file can hold
        return a is b or bool(np.all(a == b))


def _encoded(name: str, x: Any) -> Any:
    """A value as what two equal ones have in common."""
    encode = _Encoder()
    tree = encode(x, name)
    return tree, [(a.dtype.str, a.shape, a.tobytes()) for a in encode.arrays.values()]


def fingerprint(tables: Iterable[Any], before: str = "0", *, ranks: Any = None) -> str:
    """A check sum of arrays and sparse matrices, with their shapes and types.

    Parameters
    ----------
    tables : iterable of ndarray, CSR matrix or None
    before : str
        That of what came before them.
    ranks : fastboltz.distributed.Ranks, optional
        Each has a shard of the tables; the sum is that of the whole.
    """
    total = int(before, 16)
    for x in tables:
        shape = getattr(x, "shape", x)
        parts = [x] if not hasattr(x, "indptr") else [x.data, x.indices, x.indptr]
        if ranks is not None and x is not None:
            shape, parts = ranks.whole(x)
        total = zlib.crc32(repr(shape).encode(), total)
        for part in parts:
            if part is None:
                continue
            part = np.asarray(part)
            total = zlib.crc32(part.dtype.str.encode(), total)
            add = partial(_add_bytes, part)
            total = add(total) if ranks is None else ranks.chain(add, total)
    return f"{total:08x}"


def _add_bytes(part: np.ndarray, total: int) -> int:
    for start in range(0, len(part), 4096):
        rows = np.ascontiguousarray(part[start : start + 4096])
        total = zlib.crc32(rows.reshape(-1).view(np.uint8).data, total)
    return total


__all__ = [
    "FORMAT",
    "Checkpoint",
    "ModelFileError",
    "SavedEstimator",
    "describe",
    "fingerprint",
    "read",
    "replacing",
    "write",
]
