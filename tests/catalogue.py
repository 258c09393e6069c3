"""The energies that the tests of the core loop over: every model of the catalogue with a few units
a group.

Each entry says in plain data what the energy is, and, worked out by hand, what the library must
report about it. A model that is not listed here is not tested; listing it is all that its tests
take.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import oracles

import fastboltz as fb

TYPES = {
    "bernoulli": fb.Bernoulli,
    "spin": fb.Spin,
    "categorical": fb.Categorical,
    "gaussian": fb.Gaussian,
    "relu": fb.ReLU,
    "unit-interval": fb.UnitInterval,
}
#: Pairs of types that make a restricted machine: the unit interval with binary units alone.
PAIRS = [(a, b) for a in TYPES for b in TYPES if "unit-interval" not in (a, b)]
PAIRS += [("unit-interval", "bernoulli"), ("bernoulli", "unit-interval")]


def _read_only(x):
    x = x.copy()
    x.setflags(write=False)
    return x


#: The same array, laid out otherwise in memory.
LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "every other element": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "read only": _read_only,
}


@dataclass(frozen=True)
class Entry:
    """One energy of the catalogue.

    Attributes
    ----------
    groups : dict of name to (kind, shape)
    terms : list of str or ("hyperedges", group, edges)
    scale : float
        Standard deviation of the random weights.
    negative : bool
        Whether every weight is made negative, which keeps products of ReLU units normalisable.
    enumerable : bool
        Whether exact log Z is promised: at most one group of continuous units in the way, and that
        one factorial.
    n_blocks : int
        The fewest blocks of a Gibbs sweep: colours of the graph in which groups that share a term
        are neighbours.
    lateral : tuple of str
        Groups of which two units meet in one term.
    criteria : list of (of, given)
        The conditional log-likelihoods whose gradients are checked.
    """

    name: str
    groups: dict
    terms: list
    scale: float = 0.7
    negative: bool = False
    enumerable: bool = True
    n_blocks: int = 2
    lateral: tuple = ()
    sweeps: int = 40
    criteria: list = field(default_factory=list)

    @cached_property
    def machine(self) -> oracles.Machine:
        """The oracle of this energy."""
        return oracles.Machine(self.groups, self.terms)

    @cached_property
    def energy(self) -> fb.Energy:
        """The library's energy."""
        groups = {name: TYPES[kind](*shape) for name, (kind, shape) in self.groups.items()}
        terms = [term if isinstance(term, str) else fb.Hyperedges(*term[1:]) for term in self.terms]
        return fb.Energy(groups, terms=terms)

    def parameters(self, seed=0) -> dict[str, np.ndarray]:
        """Random parameters, drawn by the oracle."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        return self.machine.random_parameters(rng, scale=self.scale, negative=self.negative)

    def states(self, n: int, seed=0) -> dict[str, np.ndarray]:
        """Random joint states inside the support; not draws of the model."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        out = {}
        for name, (kind, shape) in self.groups.items():
            if kind == "bernoulli":
                out[name] = rng.integers(0, 2, (n, *shape)).astype(float)
            elif kind == "spin":
                out[name] = 2.0 * rng.integers(0, 2, (n, *shape)) - 1.0
            elif kind == "categorical":
                out[name] = np.eye(shape[-1])[rng.integers(0, shape[-1], (n, *shape[:-1]))]
            else:
                x = rng.standard_normal((n, *shape))
                inside = {"relu": np.abs, "unit-interval": lambda x: 0.5 + 0.5 * np.tanh(x)}
                out[name] = inside.get(kind, np.asarray)(x)
        return out

    @property
    def continuous(self) -> tuple[str, ...]:
        """Names of the groups without a finite list of states."""
        return tuple(name for name, (kind, _) in self.groups.items() if kind in oracles.CONTINUOUS)

    @property
    def factored(self) -> bool:
        """Whether a term is a sum of products of factors."""
        return any(isinstance(term, str) and "|" in term for term in self.terms)

    def neighbours(self, a: str, b: str) -> bool:
        """Whether a term holds both groups."""
        return any({a, b} <= {g for g, _ in term.slots} for term in self.machine.terms)

    def __str__(self) -> str:
        return self.name


def _pairs() -> list[Entry]:
    """Every ordered pair of unit types as a restricted Boltzmann machine."""
    out = []
    for a, b in PAIRS:
        both_continuous = {a, b} <= set(oracles.CONTINUOUS)
        shape_a = (2, 3) if a == "categorical" else (2,) if a in oracles.CONTINUOUS else (3,)
        shape_b = (2, 3) if b == "categorical" else (1,) if both_continuous else (2,)
        term = f"v_{'ir' if a == 'categorical' else 'i'} h_{'js' if b == 'categorical' else 'j'}"
        # Two continuous groups: the precision matrix must stay positive definite, hence small
        # weights (for ReLU with ReLU: weights of one sign instead). A single continuous side
        # takes any weight.
        out.append(
            Entry(
                name=f"{a}-{b}",
                groups={"v": (a, shape_a), "h": (b, shape_b)},
                terms=[term],
                scale=0.25 if both_continuous else 0.5 if {a, b} & set(oracles.CONTINUOUS) else 0.8,
                negative=(a, b) == ("relu", "relu"),
                enumerable=not both_continuous,
                criteria=[(("v",), ()), (("h",), ("v",)), (("v", "h"), ())],
            )
        )
    return out


def _models() -> list[Entry]:
    """The models beyond two groups of one axis."""
    bits, spins = (lambda *shape: ("bernoulli", shape)), (lambda *shape: ("spin", shape))
    onehot, real, relu = (
        (lambda *s: ("categorical", s)),
        (lambda *s: ("gaussian", s)),
        (lambda *s: ("relu", s)),
    )
    visible, label = [(("v",), ())], (("y",), ("v",))
    triangle = [(0, 1), (1, 2, 3), (0, 2), (0, 1, 2, 3)]
    return [
        # several axes, shared letters, slots in another order than the groups
        Entry("two axes", {"v": bits(2, 2), "h": bits(2)}, ["v_ij h_k"], criteria=visible),
        Entry(
            "two axes, crossed letters",
            {"v": bits(2, 3), "h": spins(2, 2)},
            ["v_ij h_ki"],
            criteria=visible,
        ),
        Entry(
            "hidden units declared first",
            {"h": bits(2), "v": bits(3)},
            ["v_i h_j"],
            criteria=visible,
        ),
        Entry("slots reversed", {"v": bits(3), "h": bits(2)}, ["h_j v_i"], criteria=visible),
        Entry("shared letter", {"v": bits(2, 3), "h": bits(2, 2)}, ["v_ri h_rj"], criteria=visible),
        Entry("element by element", {"v": bits(3), "h": spins(3)}, ["v_i h_i"], criteria=visible),
        Entry(
            "two terms on one pair",
            {"v": bits(3), "h": bits(3)},
            ["v_i h_j", "v_i h_i"],
            criteria=visible,
        ),
        Entry("no term at all", {"v": bits(3), "h": real(2)}, [], n_blocks=1, criteria=visible),
        # lateral
        Entry(
            "Boltzmann machine",
            {"v": bits(5)},
            ["v_i v_j"],
            n_blocks=1,
            lateral=("v",),
            criteria=visible,
        ),
        Entry(
            "spin glass",
            {"s": spins(5)},
            ["s_a s_b"],
            n_blocks=1,
            sweeps=300,
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        Entry(
            "lateral, two axes",
            {"s": spins(2, 2)},
            ["s_ab s_cd"],
            n_blocks=1,
            sweeps=300,
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        Entry(
            "lateral with hidden units",
            {"v": bits(3), "h": bits(3)},
            ["v_i h_j", "h_j h_k"],
            lateral=("h",),
            criteria=visible,
        ),
        Entry(
            "semi-restricted",
            {"v": bits(4), "h": bits(2)},
            ["v_i v_j", "v_i h_j"],
            lateral=("v",),
            criteria=[*visible, (("v", "h"), ())],
        ),
        Entry(
            "semi-restricted, Gaussian hidden units",
            {"v": spins(4), "h": real(2)},
            ["v_i v_j", "v_i h_j"],
            scale=0.4,
            lateral=("v",),
            criteria=visible,
        ),
        Entry(
            "Potts",
            {"z": onehot(3, 3)},
            ["z_ir z_js"],
            n_blocks=1,
            lateral=("z",),
            criteria=[(("z",), ())],
        ),
        Entry(
            "lateral, gated",
            {"s": bits(4), "h": bits(2)},
            ["s_a s_b h_k"],
            lateral=("s",),
            criteria=[(("s",), ()), (("s",), ("h",))],
        ),
        Entry(
            "lateral, gated, slots apart",
            {"s": spins(3), "h": bits(2)},
            ["s_a h_k s_b"],
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        Entry(
            "lateral on both sides",
            {"v": bits(3), "h": spins(3)},
            ["v_i v_j", "h_i h_j", "v_i h_j"],
            lateral=("v", "h"),
            criteria=visible,
        ),
        Entry(
            "lateral, gated by a label",
            {"s": bits(3), "y": onehot(3)},
            ["s_a s_b y_k"],
            lateral=("s",),
            criteria=[(("y",), ("s",)), (("s", "y"), ())],
        ),
        Entry(
            "lateral within rows and within columns",
            {"s": spins(2, 3)},
            ["s_ra s_rb", "s_ra s_qa"],
            scale=0.4,
            n_blocks=1,
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        Entry(
            "lateral, each entry with its mirror image",
            {"v": bits(3, 3)},
            ["v_ij v_ji"],
            n_blocks=1,
            lateral=("v",),
            criteria=visible,
        ),
        Entry(
            "lateral, one slot's letter shared with a gate",
            {"z": onehot(3, 2), "v": bits(3)},
            ["z_ir z_jr v_i"],
            lateral=("z",),
            criteria=[(("v",), ()), (("z",), ("v",))],
        ),
        Entry(
            "lateral, both slots' letters shared with a gate",
            {"v": bits(2, 2), "w": bits(2, 2)},
            ["v_ri v_rj w_ij"],
            lateral=("v",),
            criteria=[(("v",), ())],
        ),
        Entry(
            "Gaussian lateral",
            {"v": real(3)},
            ["v_i v_j"],
            scale=0.15,
            enumerable=False,
            n_blocks=1,
            lateral=("v",),
        ),
        Entry(
            "ReLU lateral",
            {"v": relu(2), "h": bits(2)},
            ["v_i v_j", "v_i h_j"],
            scale=0.4,
            negative=True,
            enumerable=False,
            lateral=("v",),
        ),
        # higher order
        Entry(
            "higher order",
            {"s": bits(5)},
            ["s_a s_b", "s_a s_b s_c"],
            n_blocks=1,
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        Entry(
            "higher order, spins",
            {"s": spins(4)},
            ["s_a s_b", "s_a s_b s_c"],
            n_blocks=1,
            sweeps=300,
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        Entry(
            "fourth order",
            {"s": spins(5)},
            ["s_a s_b s_c s_d"],
            n_blocks=1,
            sweeps=300,
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        Entry(
            "hyperedges",
            {"s": bits(4)},
            [("hyperedges", "s", triangle)],
            n_blocks=1,
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        Entry(
            "hyperedges, spins, hidden units",
            {"s": spins(4), "h": bits(2)},
            [("hyperedges", "s", triangle), "s_a h_j"],
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        Entry(
            "hyperedges beside pairs",
            {"s": spins(4)},
            ["s_a s_b", ("hyperedges", "s", [(1, 2, 3), (3, 2, 0)])],
            n_blocks=1,
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        Entry(
            "hyperedges of two lists over two axes",
            {"s": bits(2, 2)},
            [
                ("hyperedges", "s", [(0, 3), (1, 2, 3), (2,)]),
                ("hyperedges", "s", [(3, 2), (0, 1, 2), (3, 0)], "more"),
            ],
            n_blocks=1,
            lateral=("s",),
            criteria=[(("s",), ())],
        ),
        # deep, labels, gates
        Entry(
            "deep",
            {"v": bits(3), "h": bits(2), "g": bits(3)},
            ["v_i h_j", "h_j g_k"],
            criteria=visible,
        ),
        Entry(
            "deep, mixed types",
            {"v": real(2), "h": bits(2), "g": spins(2), "y": onehot(3)},
            ["v_i h_j", "h_j g_k", "g_k y_c"],
            scale=0.5,
            criteria=[*visible, label],
        ),
        Entry(
            "deep, three hidden layers, upper groups first in the terms",
            {"v": bits(3), "h1": bits(2), "h2": bits(3), "h3": bits(2)},
            ["h1_j v_i", "h2_j h1_i", "h3_j h2_i"],
            criteria=visible,
        ),
        Entry(
            "deep, Gaussian visible units",
            {"v": real(2), "h1": bits(2), "h2": bits(3)},
            ["h1_j v_i", "h2_j h1_i"],
            scale=0.5,
            criteria=visible,
        ),
        Entry(
            "class RBM",
            {"v": bits(3), "h": bits(2), "y": onehot(3)},
            ["v_i h_j", "y_k h_j"],
            criteria=[label, (("v", "y"), ()), *visible],
        ),
        Entry(
            "class RBM, Gaussian visible units",
            {"v": real(2), "h": bits(2), "y": onehot(3)},
            ["v_i h_j", "y_k h_j"],
            scale=0.5,
            criteria=[label, (("v", "y"), ())],
        ),
        Entry(
            "class RBM, label coupled to v too",
            {"v": bits(3), "h": relu(2), "y": onehot(3)},
            ["v_i h_j", "y_k h_j", "v_i y_k"],
            scale=0.5,
            n_blocks=3,
            criteria=[label, (("v", "y"), ())],
        ),
        Entry(
            "class-gated",
            {"v": bits(3), "h": bits(2), "y": onehot(3)},
            ["v_i h_j y_k"],
            n_blocks=3,
            criteria=[label, (("v", "y"), ())],
        ),
        Entry(
            "class RBM, fewer hidden states than labels",
            {"v": bits(3), "h": bits(1), "y": onehot(3)},
            ["h_j v_i", "h_j y_k"],
            criteria=[label, (("v", "y"), ())],
        ),
        Entry(
            "class-gated, label first",
            {"v": bits(3), "h": spins(2), "y": onehot(3)},
            ["y_k h_j v_i"],
            n_blocks=3,
            criteria=[label, (("v", "y"), ())],
        ),
        Entry(
            "class-gated, Gaussian visible and hidden units",
            {"v": real(2), "h": real(1), "y": onehot(3)},
            ["y_k h_j v_i", "v_i y_k"],
            scale=0.25,
            enumerable=False,
            n_blocks=3,
        ),
        Entry(
            "class-gated, factored",
            {"v": bits(3), "h": bits(2), "y": onehot(3)},
            ["y_k h_j v_i | 2"],
            scale=1.0,
            n_blocks=3,
            criteria=[label, (("v", "y"), ())],
        ),
        Entry(
            "gated by two labels at once",
            {"v": bits(2), "h": bits(2), "y": onehot(3), "z": onehot(2)},
            ["v_i y_k h_j z_l", "y_k z_l", "v_i h_j"],
            scale=0.5,
            n_blocks=4,
            criteria=[(("y", "z"), ("v",)), (("y",), ("v", "z"))],
        ),
        Entry(
            "two hidden groups, second order",
            {"v": bits(3), "h": bits(2), "g": bits(2), "y": onehot(2)},
            ["h_j v_i", "h_j y_k", "g_m v_i"],
            criteria=[label, (("v", "y"), ()), *visible],
        ),
        Entry(
            "two hidden groups",
            {"v": bits(3), "h": bits(2), "g": bits(2), "y": onehot(2)},
            ["v_i h_j y_k", "v_i g_m"],
            n_blocks=3,
            criteria=[label, (("v", "y"), ()), *visible],
        ),
        Entry(
            "gated",
            {"x": bits(2), "y": bits(3), "h": bits(2)},
            ["x_i y_j h_k"],
            n_blocks=3,
            criteria=[(("y",), ("x",)), (("x", "y"), ())],
        ),
        Entry(
            "gated, Gaussian output",
            {"x": bits(2), "y": real(2), "h": spins(2)},
            ["x_i y_j h_k", "y_j h_k"],
            scale=0.5,
            n_blocks=3,
            criteria=[(("y",), ("x",))],
        ),
        Entry(
            "gated, factored",
            {"x": bits(3), "y": bits(2), "h": bits(2)},
            ["x_i y_j h_k | 3"],
            scale=1.0,
            n_blocks=3,
            criteria=[(("y",), ("x",)), (("x", "y"), ())],
        ),
        Entry(
            "gated, factored, mixed types",
            {"x": spins(2), "y": onehot(2, 3), "h": bits(2)},
            ["x_i y_jr h_k | 2", "x_i h_k"],
            scale=0.8,
            n_blocks=3,
            criteria=[(("y",), ("x",)), (("x", "y"), ())],
        ),
        Entry(
            "gated, each image beside the pair",
            {"x": bits(2), "y": bits(3), "h": bits(2)},
            ["x_i y_j h_k", "x_i h_k", "y_j h_k"],
            n_blocks=3,
            criteria=[(("y",), ("x",)), (("x", "y"), ())],
        ),
        Entry(
            "gated, factored, Gaussian output",
            {"x": spins(3), "y": real(2), "h": bits(2)},
            ["x_i y_j h_k | 3"],
            scale=0.7,
            n_blocks=3,
            criteria=[(("y",), ("x",))],
        ),
        Entry(
            "RBM of low rank",
            {"v": bits(3), "h": bits(3)},
            ["v_i h_j | 2"],
            scale=1.0,
            criteria=visible,
        ),
        Entry(
            "point-wise gated",
            {"v": bits(3), "z": onehot(3, 2), "h": bits(2, 2)},
            ["v_i z_ir h_rk"],
            n_blocks=3,
            criteria=visible,
        ),
        Entry(
            "point-wise gated, components of two and of one hidden unit",
            {"v": bits(3), "z": onehot(3, 2), "h0": bits(2), "h1": bits(1)},
            ["h0_k v_i z_i0", "h1_k v_i z_i1", "v_i z_i0", "v_i z_i1"],
            n_blocks=3,
            criteria=visible,
        ),
        Entry(
            "point-wise gated, a mask: one component without hidden units",
            {"v": bits(3), "z": onehot(3, 2), "h0": bits(2)},
            ["h0_k v_i z_i0", "v_i z_ir"],
            n_blocks=3,
            criteria=visible,
        ),
        Entry(
            "point-wise gated, a label meets one component",
            {"v": bits(2), "z": onehot(2, 2), "h0": bits(2), "h1": bits(1), "y": onehot(3)},
            ["h0_k v_i z_i0", "h1_k v_i z_i1", "v_i z_i0", "v_i z_i1", "h0_k y_c"],
            n_blocks=3,
            criteria=[label, (("v", "y"), ()), (("y",), ("v", "z"))],
        ),
        Entry(
            "point-wise gated, spins, entries of several axes",
            {"v": spins(2), "z": onehot(2, 3), "w": bits(2, 2), "h": spins(2)},
            ["v_i z_i2 h_k", "w_1k h_k", "w_i0 v_i"],
            n_blocks=3,
            criteria=visible,
        ),
        Entry(
            "point-wise gated, a mask over grey values",
            {"v": ("unit-interval", (2,)), "z": onehot(2, 2), "h0": bits(2)},
            ["h0_k v_i z_i0", "v_i z_i0"],
            scale=2.0,
            n_blocks=3,
            criteria=visible,
        ),
        Entry(
            "point-wise gated, Gaussian visible units",
            {"v": real(2), "z": onehot(2, 2), "h": bits(2, 2)},
            ["v_i z_ir h_rk", "z_ir v_i"],
            scale=0.5,
            n_blocks=3,
            criteria=visible,
        ),
    ]


CATALOGUE = [*_pairs(), *_models()]
BY_NAME = {entry.name: entry for entry in CATALOGUE}
assert len(BY_NAME) == len(CATALOGUE)
