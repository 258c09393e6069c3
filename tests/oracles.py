"""Slow reference answers in plain NumPy and SciPy: the tests' own reading of the mathematics.

Nothing of the library is imported here. Every quantity is computed the plainest way that can be
read off its definition: sums over all states, quadrature for continuous units, differences of
energies for fields.

A machine is described by plain data: ``groups`` maps a name to ``(kind, shape)``, where kind is one
of "bernoulli", "spin", "categorical" (one-hot over the last axis), "gaussian", "relu" and
"unit-interval"; ``terms`` holds strings such as "v_i h_j" or "x_i y_j h_k | 3", and tuples
``("hyperedges", group, edges)``, with a name of their own at the end if need be.

Integrals over a continuous unit become sums over quadrature nodes (equispaced for the Gaussian,
where the trapezoid rule converges geometrically; Gauss-Legendre for half line and interval), so
that a continuous unit is enumerated like any other.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import special

#: Continuous kinds with a precision, and all of them.
PRECISE = ("gaussian", "relu")
CONTINUOUS = (*PRECISE, "unit-interval")


# ---------------------------------------------------------------------------------------- one group


def unit_states(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return all states of one unit of a finite kind: (n_states,), or (q, q) for a one-hot unit."""
    if kind == "bernoulli":
        return np.array([0.0, 1.0])
    if kind == "spin":
        return np.array([-1.0, 1.0])
    if kind == "categorical":
        return np.eye(shape[-1])
    raise ValueError(f"{kind} units have no finite list of states")


def unit_nodes(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return quadrature nodes and weights for a continuous unit of precision and mean near 1."""
    if kind == "gaussian":
        step = 0.6  # error exp(-2 pi^2 sd^2 / step^2) < 1e-15 for sd > 0.8
        nodes = np.arange(-22, 23) * step
        return nodes, np.full(len(nodes), step)
    nodes, weights = np.polynomial.legendre.leggauss(44)
    if kind == "unit-interval":
        return (nodes + 1.0) / 2, weights / 2
    half = 6.5  # the half line is cut at 13
    return half * (nodes + 1.0), half * weights


def base_energy(kind: str, own: dict, x: np.ndarray) -> np.ndarray:
    """Return the base energy of each entry, shaped like x."""
    if kind in PRECISE:
        return 0.5 * np.exp(own["log_precision"]) * x**2 - own["bias"] * x
    return -own["bias"] * x


def group_axes(kind: str, shape: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split a group into axes of enumeration: all joint states of a finite group, or each
    continuous unit by itself.

    Each axis is (values, log_weights) with values of shape (n, number of entries it fills), in C
    order.
    """
    if kind in CONTINUOUS:
        nodes, weights = unit_nodes(kind)
        return [(nodes[:, None], np.log(weights))] * math.prod(shape)
    states = unit_states(kind, shape)
    n_units = math.prod(shape[:-1]) if kind == "categorical" else math.prod(shape)
    rows = np.array(
        [
            np.concatenate([np.atleast_1d(s) for s in c])
            for c in itertools.product(states, repeat=n_units)
        ]
    )
    return [(rows, np.zeros(len(rows)))]


# ------------------------------------------------------------------------------------------- a term


def parse(term: str) -> tuple[list[tuple[str, str]], int | None]:
    """Split "x_i y_j h_k | 3" into [("x", "i"), ("y", "j"), ("h", "k")] and the number of factors,
    or None."""
    text, _, factors = term.partition("|")
    slots = [tuple(slot.rsplit("_", 1)) for slot in text.split()]
    return slots, int(factors) if factors else None


class Term:
    """One coupling, laid out as a list of products of entries.

    ``products`` is a list of (entries, positions): the entries (group, flat index) that are
    multiplied, and all the positions of the weight array that stand for this one product (several
    when units of one group may be exchanged).
    """

    def __init__(self, term, groups):
        self.groups = groups
        if not isinstance(term, str):
            _, group, edges, *name = term
            self.name, self.factors = name[0] if name else f"hyperedges({group})", None
            self.slots = [(group, "")] * max(map(len, edges))
            self.shape = (len(edges),)
            self.products = [
                (tuple((group, u) for u in edge), [(e,)]) for e, edge in enumerate(edges)
            ]
            self.keys = {self.name: self.shape}
            return
        self.name = term
        self.slots, self.factors = parse(term)
        letters = self.letters()
        size = {}
        for group, index in self.slots:
            assert len(index) == len(groups[group][1]), (term, group)
            for letter, n in zip(index, groups[group][1], strict=True):
                assert letter.isdigit() or size.setdefault(letter, n) == n, (term, letter)
        self.shape = tuple(size[letter] for letter in letters)
        found: dict[tuple, list] = {}
        for position in itertools.product(*(range(n) for n in self.shape)):
            # A digit in the place of a letter stands for itself: "z_i0" is entry 0 of each z_i.
            at = {str(d): d for d in range(10)} | dict(zip(letters, position, strict=True))
            indices = [
                (group, tuple(at[letter] for letter in index)) for group, index in self.slots
            ]
            units = [(g, i[:-1] if groups[g][0] == "categorical" else i) for g, i in indices]
            if len(set(units)) < len(units):
                continue  # two slots on one and the same unit: no such product
            entries = tuple(
                sorted((g, int(np.ravel_multi_index(i, groups[g][1]))) for g, i in indices)
            )
            found.setdefault(entries, []).append(position)
        self.products = list(found.items())
        if self.factors is None:
            self.keys = {term: self.shape}
        else:
            self.keys = {f"{term} @ {g}_{i}": (*groups[g][1], self.factors) for g, i in self.slots}

    def letters(self) -> list[str]:
        """Return the letters of the weight array's axes."""
        found = dict.fromkeys("".join(index for _, index in self.slots))
        return [letter for letter in found if not letter.isdigit()]

    def weights(self, params) -> np.ndarray:
        """Return the weight of each product, (n_products,)."""
        if self.factors is None:
            return np.array([params[self.name][positions[0]] for _, positions in self.products])
        full = np.zeros(self.shape)
        letters = self.letters()
        for position in itertools.product(*(range(n) for n in self.shape)):
            at = dict(zip(letters, position, strict=True))
            for f in range(self.factors):
                product = 1.0
                for (_, index), key in zip(self.slots, self.keys, strict=True):
                    product *= params[key][(*(at[letter] for letter in index), f)]
                full[position] += product
        return np.array([full[positions[0]] for _, positions in self.products])

    def values(self, state) -> np.ndarray:
        """Return every product for every row, (n, n_products)."""
        flat = {g: np.asarray(state[g], float).reshape(len(state[g]), -1) for g, _ in self.slots}
        columns = [
            np.prod([flat[g][:, u] for g, u in entries], axis=0) for entries, _ in self.products
        ]
        return np.stack(columns, axis=1)

    def statistics(self, params, values) -> dict[str, np.ndarray]:
        """Return minus the derivative of the energy in each parameter, from averaged products
        (n_products,)."""
        if self.factors is None:
            out = np.zeros(self.shape)
            for value, (_, positions) in zip(values, self.products, strict=True):
                for position in positions:
                    out[position] = value
            return {self.name: out}
        out = {key: np.zeros(shape) for key, shape in self.keys.items()}
        for key, shape in self.keys.items():
            for position in itertools.product(*map(range, shape)):
                moved = {k: params[k].copy() for k in self.keys}
                moved[key][position] += (
                    1.0  # the weights are linear in one factor: a unit step is exact
                )
                out[key][position] = (self.weights(moved) - self.weights(params)) @ values
        return out


# ---------------------------------------------------------------------------------------- a machine


class Machine:
    """An energy over named groups, answered by enumeration."""

    def __init__(self, groups: dict[str, tuple[str, tuple[int, ...]]], terms: list):
        self.groups = dict(groups)
        self.terms = [Term(term, self.groups) for term in terms]

    # parameters

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter array under its key."""
        shapes = {}
        for name, (kind, shape) in self.groups.items():
            shapes[name] = shape
            if kind in PRECISE:
                shapes[f"{name}.log_precision"] = shape
        for term in self.terms:
            shapes.update(term.keys)
        return shapes

    def directions(self, key: str) -> list[tuple[tuple[int, ...], np.ndarray]]:
        """Return (position, direction) for each independent parameter of one array: 1 wherever that
        parameter stands."""
        for term in self.terms:
            if key == term.name:
                out = []
                for _, positions in term.products:
                    direction = np.zeros(term.shape)
                    for position in positions:
                        direction[position] = 1.0
                    out.append((positions[0], direction))
                return out
        shape = self.parameter_shapes()[key]
        out = []
        for position in np.ndindex(*shape):
            direction = np.zeros(shape)
            direction[position] = 1.0
            out.append((position, direction))
        return out

    def random_parameters(
        self, rng, scale=0.7, bias=0.5, log_precision=0.2, negative=False
    ) -> dict[str, np.ndarray]:
        """Draw parameters with the symmetry that the terms ask for; ``negative`` makes every weight
        negative."""
        params = {}
        for name, (kind, shape) in self.groups.items():
            params[name] = bias * rng.standard_normal(shape)
            if kind in PRECISE:
                params[f"{name}.log_precision"] = log_precision * rng.uniform(-1, 1, shape)
        for term in self.terms:
            for key, shape in term.keys.items():
                array = np.zeros(shape)
                for _, direction in self.directions(key):
                    array += scale * rng.standard_normal() * direction
                params[key] = -np.abs(array) if negative else array
        return params

    def own(self, params, name: str) -> dict[str, np.ndarray]:
        """Return the parameters of one group without the group's name."""
        own = {"bias": params[name]}
        if self.groups[name][0] in PRECISE:
            own["log_precision"] = params[f"{name}.log_precision"]
        return own

    # the energy

    def base(self, params, state, names=None) -> np.ndarray:
        """Return the base energy of the named groups (all by default), (n,)."""
        total = 0.0
        for name in self.groups if names is None else names:
            x = np.asarray(state[name], float)
            total = total + base_energy(self.groups[name][0], self.own(params, name), x).reshape(
                len(x), -1
            ).sum(axis=1)
        return total

    def coupling(self, params, state) -> np.ndarray:
        """Return the energy of the terms alone, (n,)."""
        n = len(next(iter(state.values())))
        return np.zeros(n) - sum(term.values(state) @ term.weights(params) for term in self.terms)

    def value(self, params, state) -> np.ndarray:
        """Return the energy of each row, (n,)."""
        return self.base(params, state) + self.coupling(params, state)

    def field(self, params, state, name: str) -> np.ndarray:
        """Return minus the change of the coupling energy as each entry goes from 0 to 1, the other
        units as they are.

        The entries of the entry's own unit (the other states of a one-hot unit) are set to 0 both
        times.
        """
        kind, shape = self.groups[name]
        x = np.asarray(state[name], float)
        out = np.zeros(x.shape)
        for position in np.ndindex(*shape):
            off = x.copy()
            off[
                (slice(None), *position[:-1]) if kind == "categorical" else (slice(None), *position)
            ] = 0.0
            on = off.copy()
            on[(slice(None), *position)] = 1.0
            low, high = (self.coupling(params, {**state, name: y}) for y in (off, on))
            out[(slice(None), *position)] = low - high
        return out

    def statistics(self, params, state, weights=None) -> dict[str, np.ndarray]:
        """Return minus the derivative of the energy in each parameter, averaged over rows."""
        n = len(next(iter(state.values())))
        weights = np.ones(n) if weights is None else np.asarray(weights, float)
        weights = weights / weights.sum()
        out = {}
        for name, (kind, _) in self.groups.items():
            x = np.asarray(state[name], float)
            out[name] = np.tensordot(weights, x, axes=1)
            if kind in PRECISE:
                gamma = np.exp(params[f"{name}.log_precision"])
                out[f"{name}.log_precision"] = -0.5 * gamma * np.tensordot(weights, x**2, axes=1)
        for term in self.terms:
            out.update(term.statistics(params, weights @ term.values(state)))
        return out

    # enumeration

    def grid(self, names=None) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[int, ...]]:
        """Return every joint state of the named groups, its log quadrature weight, and the lengths
        of the axes."""
        names = list(self.groups) if names is None else list(names)
        axes = [axis for name in names for axis in group_axes(*self.groups[name])]
        lengths = tuple(len(log_weights) for _, log_weights in axes)
        picks = [p.ravel() for p in np.indices(lengths)] if axes else []
        log_weights = sum(
            (axis[1][p] for axis, p in zip(axes, picks, strict=True)), np.zeros(math.prod(lengths))
        )
        state, used = {}, 0
        for name in names:
            kind, shape = self.groups[name]
            n_axes = math.prod(shape) if kind in CONTINUOUS else 1
            columns = [axes[k][0][picks[k]] for k in range(used, used + n_axes)]
            state[name] = np.concatenate(columns, axis=1).reshape(-1, *shape)
            used += n_axes
        return state, log_weights, lengths

    def _joined(self, given, row):
        """Return the grid of the groups that are not given, beside row ``row`` of those that
        are."""
        names = [name for name in self.groups if name not in given]
        state, log_weights, _ = self.grid(names)
        for name, x in given.items():
            state[name] = np.repeat(np.asarray(x, float)[row : row + 1], len(log_weights), axis=0)
        return state, log_weights

    def log_partition(self, params, given=None):
        """Return log Z; with ``given`` the log Z of the remaining groups for each row, (n,)."""
        if not given:
            state, log_weights, _ = self.grid()
            return float(special.logsumexp(log_weights - self.value(params, state)))
        out = []
        for row in range(len(next(iter(given.values())))):
            state, log_weights = self._joined(given, row)
            out.append(special.logsumexp(log_weights - self.value(params, state)))
        return np.array(out)

    def moments(self, params, given=None, weights=None) -> dict[str, np.ndarray]:
        """Return the expected statistics; with ``given`` averaged over its rows."""
        if not given:
            state, log_weights, _ = self.grid()
            return self.statistics(params, state, np.exp(log_weights - self.value(params, state)))
        n = len(next(iter(given.values())))
        weights = (
            np.ones(n) / n if weights is None else np.asarray(weights, float) / np.sum(weights)
        )
        total = {key: np.zeros(shape) for key, shape in self.parameter_shapes().items()}
        for row in range(n):
            state, log_weights = self._joined(given, row)
            p = special.softmax(log_weights - self.value(params, state))
            for key, value in self.statistics(params, state, p).items():
                total[key] += weights[row] * value
        return total

    def moment_variances(self, params) -> dict[str, np.ndarray]:
        """Return the variance of each statistic of one exact draw; no factored terms."""
        state, log_weights, _ = self.grid()
        p = special.softmax(log_weights - self.value(params, state))
        return self.statistic_variances(params, state, p)

    def statistic_variances(self, params, state, weights=None) -> dict[str, np.ndarray]:
        """Return the variance of each statistic over rows; no factored terms."""
        n = len(next(iter(state.values())))
        p = np.full(n, 1 / n) if weights is None else weights
        out = {}
        for name, (kind, _) in self.groups.items():
            out[name] = _variance(p, state[name])
            if kind in PRECISE:
                gamma = np.exp(params[f"{name}.log_precision"])
                out[f"{name}.log_precision"] = _variance(p, 0.5 * gamma * state[name] ** 2)
        for term in self.terms:
            assert term.factors is None, "use the products of a dense machine"
            out.update(term.statistics(params, _variance(p, term.values(state))))
        return out

    def log_likelihood(self, params, data, of, given=(), weights=None) -> float:
        """Return the average over rows of log p(of | given)."""
        top = self.log_partition(params, {name: data[name] for name in (*of, *given)})
        bottom = self.log_partition(params, {name: data[name] for name in given})
        return float(np.average(top - bottom, weights=weights))

    # exact draws and exact histograms

    def probabilities(self, params) -> np.ndarray:
        """Return the probability of each joint state of the grid, shaped like its axes."""
        state, log_weights, lengths = self.grid()
        return special.softmax(log_weights - self.value(params, state)).reshape(lengths)

    def draw(self, params, n: int, rng) -> dict[str, np.ndarray]:
        """Draw n exact joint states.

        A draw from the grid is exact for the finite groups. Each continuous unit in turn is then
        drawn anew from its exact conditional: averaged over grid draws of the rest this is a
        quadrature, exact to its rounding.
        """
        grid, _, _ = self.grid()
        p = self.probabilities(params).ravel()
        rows = rng.choice(len(p), size=n, p=p / p.sum())
        state = {name: x[rows] for name, x in grid.items()}
        for name, unit in self.continuous_units():
            mean, sd = self.conditional(params, state, name, unit)
            state[name][(slice(None), *unit)] = quantile_continuous(
                self.groups[name][0], mean, sd, rng.random(n)
            )
        return state

    def continuous_units(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return every continuous unit as (group, position)."""
        return [
            (n, u)
            for n, (kind, shape) in self.groups.items()
            if kind in CONTINUOUS
            for u in np.ndindex(*shape)
        ]

    def conditional(self, params, state, name, unit) -> tuple[np.ndarray, np.ndarray]:
        """Return location and scale of one continuous unit given the rest (before truncation, for
        ReLU); the field and 1 for the unit interval."""
        at = (slice(None), *unit)
        off, on = np.array(state[name], float), np.array(state[name], float)
        off[at], on[at] = 0.0, 1.0
        field = self.coupling(params, {**state, name: off}) - self.coupling(
            params, {**state, name: on}
        )
        if self.groups[name][0] not in PRECISE:
            return params[name][unit] + field, 1.0
        gamma = np.exp(params[f"{name}.log_precision"][unit])
        return (params[name][unit] + field) / gamma, gamma**-0.5

    def code(self, state) -> np.ndarray:
        """Return the number of each row's joint state of the finite groups, counted as the grid
        counts it."""
        total = np.zeros(len(next(iter(state.values()))), dtype=int)
        for name, (kind, shape) in self.groups.items():
            if kind in CONTINUOUS:
                continue
            x = np.asarray(state[name])
            if kind == "categorical":
                digits, base = x.argmax(axis=-1).reshape(len(x), -1), shape[-1]
                assert np.array_equal(np.eye(base)[x.argmax(axis=-1)], x), f"{name} is not one-hot"
            else:
                low = 0.0 if kind == "bernoulli" else -1.0
                assert np.isin(x, (low, 1.0)).all(), f"{name} has values outside its support"
                digits, base = (x.reshape(len(x), -1) == 1.0).astype(int), 2
            for column in digits.T:
                total = total * base + column
        return total

    def n_codes(self) -> int:
        """Return the number of joint states of the finite groups."""
        return math.prod(
            len(axis[1])
            for kind, shape in self.groups.values()
            if kind not in CONTINUOUS
            for axis in group_axes(kind, shape)
        )

    def histograms(self, params) -> list[tuple[str, np.ndarray, object]]:
        """Return (name, exact cell probabilities, function from states to cells) for each histogram
        to compare.

        One histogram over the joint states of the finite groups; for each continuous unit one over
        these joint states and five intervals of that unit. The probability of an interval is an
        average of conditional distribution functions, so it is as exact as the quadrature over the
        other units.
        """
        grid, _, _ = self.grid()
        p = self.probabilities(params)
        codes = self.code(grid).reshape(p.shape)
        n_codes = self.n_codes()
        out = []
        if n_codes > 1:
            cells = np.bincount(codes.ravel(), weights=p.ravel(), minlength=n_codes)
            out.append(("finite groups", cells, self.code))
        axis_of, used = {}, 0
        for name, (kind, shape) in self.groups.items():
            for unit in np.ndindex(*shape) if kind in CONTINUOUS else [None]:
                axis_of[name, unit] = used
                used += 1
        for name, unit in self.continuous_units():
            axis = axis_of[name, unit]
            kind = self.groups[name][0]
            first = np.zeros(p.shape, bool)
            first[(slice(None),) * axis + (0,)] = True
            rest = {group: x[first.ravel()] for group, x in grid.items()}
            p_rest = p.sum(axis=axis).ravel()
            mean, sd = self.conditional(params, rest, name, unit)
            edges = {
                "gaussian": float(p_rest @ mean) + np.array([-0.9, -0.3, 0.3, 0.9]),
                "relu": np.array([0.2, 0.5, 0.9, 1.6]),
                "unit-interval": np.array([0.2, 0.4, 0.6, 0.8]),
            }[kind]
            below = np.stack(
                [distribution_function(kind, mean, sd, edge) for edge in edges], axis=1
            )
            inside = np.diff(below, axis=1, prepend=0.0, append=1.0)
            cells = np.zeros((n_codes, inside.shape[1]))
            np.add.at(cells, codes[first], p_rest[:, None] * inside)

            def cell(state, name=name, unit=unit, edges=edges):
                bins = np.searchsorted(edges, np.asarray(state[name])[(slice(None), *unit)])
                return self.code(state) * (len(edges) + 1) + bins

            out.append((f"{name}{list(unit)} with the finite groups", cells.ravel(), cell))
        return out


def _variance(p, x):
    mean = np.tensordot(p, x, axes=1)
    return np.tensordot(p, (x - mean) ** 2, axes=1)


def distribution_function(kind, mean, sd, x):
    """Return P(unit <= x) of a Gaussian, of a Gaussian cut to the positive half line, or of the
    density exp(mean x) on the unit interval."""
    if kind == "unit-interval":
        return np.expm1(mean * x) / np.expm1(mean)
    if kind == "gaussian":
        return special.ndtr((x - mean) / sd)
    tail = special.ndtr((mean - x) / sd) / special.ndtr(mean / sd)
    return np.where(x >= 0, 1.0 - tail, 0.0)


def quantile_continuous(kind, mean, sd, u):
    """Return the x with P(unit <= x) = u; through logarithms, so that a far truncated tail keeps
    its digits."""
    if kind == "unit-interval":
        return np.log1p(u * np.expm1(mean)) / mean
    if kind == "gaussian":
        return mean + sd * special.ndtri(u)
    return mean - sd * special.ndtri_exp(np.log1p(-np.asarray(u)) + special.log_ndtr(mean / sd))


# -------------------------------------------------------------------------------- Monte Carlo error


def total_variation(p, cells) -> float:
    """Return half the L1 distance between probabilities p and the histogram of cell numbers."""
    counts = np.bincount(cells, minlength=len(p))
    return 0.5 * float(np.abs(counts / len(cells) - p).sum())


def total_variation_bound(p, n: int, n_sd=4.5, replicates=200) -> float:
    """Return the total variation that n exact draws from p keep below but for one time in 10^5.

    Mean plus ``n_sd`` standard deviations of the distance of simulated multinomial samples. The
    distance is a sum of many weakly dependent absolute deviations, so close to normal; 4.5 standard
    deviations leave 3e-6 above.
    """
    rng = np.random.default_rng(12345)
    counts = rng.multinomial(n, p / p.sum(), size=replicates)
    distances = 0.5 * np.abs(counts / n - p).sum(axis=1)
    return float(distances.mean() + n_sd * distances.std())


class Reference:
    """What exact draws of a machine look like, computed once: histograms, moments, variances."""

    def __init__(self, machine: Machine, params):
        self.machine, self.params = machine, params
        self.histograms = machine.histograms(params)
        self.factored = any(term.factors is not None for term in machine.terms)
        if not self.factored:
            self.moments = machine.moments(params)
            self.variances = machine.moment_variances(params)
        self._bounds: dict[tuple[str, int], float] = {}

    def bound(self, name: str, cells, n: int) -> float:
        """Return `total_variation_bound` of one histogram."""
        if (name, n) not in self._bounds:
            self._bounds[name, n] = total_variation_bound(cells, n)
        return self._bounds[name, n]

    def complaints(self, state, z_limit=4.5) -> list[str]:
        """Return a sentence for each histogram and statistic that exact draws would not show.

        Rows are taken as independent: total variations are held against those of multinomial
        samples, statistics against their standard errors sqrt(var / n).
        """
        n = len(next(iter(state.values())))
        out = []
        for name, cells, cell_of in self.histograms:
            distance, bound = total_variation(cells, cell_of(state)), self.bound(name, cells, n)
            if distance >= bound:
                out.append(f"{name}: total variation {distance:.4f}, bound {bound:.4f}")
        if self.factored:
            return out
        found = self.machine.statistics(self.params, state)
        for key, expected in self.moments.items():
            free = self.variances[key] > 1e-12
            z = (found[key] - expected)[free] / np.sqrt(self.variances[key][free] / n)
            if z.size and np.abs(z).max() >= z_limit:
                out.append(f"{key}: off by {np.abs(z).max():.1f} standard errors")
        return out
