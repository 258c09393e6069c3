"""Sweeps site by site against a loop in NumPy that uses the same uniforms."""

import signal
import threading
import time

import numpy as np
import philox_oracle
import pytest
from scipy.special import expit

from fastboltz_ext import site_gibbs

DTYPES = [np.float32, np.float64]
SIZES = [(1, 1), (1, 5), (4, 15), (3, 16), (3, 17), (2, 33), (5, 64), (0, 4)]
SEED, STREAM, STEP, ROW0 = 2**45 + 5, 4, 5, 6
ADDRESS = {"seed": SEED, "stream": STREAM, "step": STEP, "row0": ROW0}
#: Draws are compared where u and p differ by more than the rounding of a sum in float32.
SAFE = 1e-5


def start(n, m, spin, dtype):
    random = np.random.default_rng((n, m, spin))
    values = random.integers(0, 2, (n, m)).astype(dtype)
    if spin:
        values = 2 * values - 1
    field = random.standard_normal((n, m)).astype(dtype)
    field.setflags(write=False)
    return random, values.astype(dtype), field


def oracle(values, activation, spin, scale, n_sweeps, order, clamped, dtype):
    """Sweeps given activation(row, states, site); the distance of the closest call comes along."""
    values = values.astype(np.float64)
    n, m = values.shape
    closest = np.inf
    for s in range(n_sweeps):
        u = philox_oracle.uniform(SEED, STREAM, STEP + s, ROW0, n, m, dtype)
        for r in range(n):
            for i in range(m) if order is None else order:
                if clamped is not None and clamped[r, i]:
                    continue
                a = scale * activation(r, values[r], i)
                p = expit(2 * a if spin else a)
                closest = min(closest, abs(u[r, i] - p))
                values[r, i] = 1 if u[r, i] < p else (-1 if spin else 0)
    return values, closest


def symmetric(random, m, dtype, shape=()):
    w = random.standard_normal((*shape, m, m)) / np.sqrt(m)
    w = w + np.swapaxes(w, -1, -2)
    w *= 1 - np.eye(m)
    w = w.astype(dtype)
    w.setflags(write=False)
    return w


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("each_row", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_dense(size, ordered, each_row, spin, dtype):
    n, m = size
    random, values, field = start(n, m, spin, dtype)
    couplings = symmetric(random, m, dtype, (n,) if each_row else ())
    order = random.permutation(m) if ordered else None
    clamped = random.integers(0, 4, (n, m)) == 0 if ordered else None

    def activation(r, v, i):
        w = couplings[r] if each_row else couplings
        return field[r, i] + w[i].astype(np.float64) @ v

    expected, closest = oracle(values, activation, spin, 0.8, 3, order, clamped, dtype)
    assert closest > SAFE  # a property of the fixed seed
    for n_threads in (1, 2, 4):
        got = values.copy()
        site_gibbs.sweep_dense(
            got, field, couplings, order=order, clamped=clamped, scale=0.8, spin=spin,
            n_sweeps=3, n_threads=n_threads, **ADDRESS,
        )  # fmt: skip
        assert np.array_equal(got, expected)


def edges_of(random, m):
    """Edges of order 1 to 4 on m units."""
    sizes = random.integers(1, min(m, 4) + 1, size=2 * m)
    return [random.choice(m, size=k, replace=False) for k in sizes]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("each_row", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_hyperedges(size, ordered, each_row, spin, dtype):
    n, m = size
    random, values, field = start(n, m, spin, dtype)
    edges = edges_of(random, m)
    weights = random.standard_normal((n, len(edges)) if each_row else len(edges)).astype(dtype)
    weights.setflags(write=False)
    order = random.permutation(m) if ordered else None
    clamped = (random.integers(0, 4, (n, m)) == 0).astype(np.uint8) if ordered else None

    def activation(r, v, i):
        w = weights[r] if each_row else weights
        terms = (
            w[e] * np.prod([v[k] for k in edge if k != i])
            for e, edge in enumerate(edges)
            if i in edge
        )
        return field[r, i] + sum(terms, start=np.float64(0))

    expected, closest = oracle(values, activation, spin, 1.1, 3, order, clamped, dtype)
    assert closest > SAFE
    for n_threads in (1, 2, 4):
        got = values.copy()
        site_gibbs.sweep_hyperedges(
            got, field, weights, *site_gibbs.index_edges(edges, m), order=order,
            clamped=clamped, scale=1.1, spin=spin, n_sweeps=3, n_threads=n_threads, **ADDRESS,
        )  # fmt: skip
        assert np.array_equal(got, expected)


@pytest.fixture
def kernels():
    """The kernels that this processor has, and the chosen one again afterwards."""
    before = site_gibbs.kernel()
    names = ["scalar", "portable"]
    try:
        site_gibbs.kernel("avx512")
        names.append("avx512")
    except ValueError:
        pass
    yield names
    site_gibbs.kernel(before)


def all_rows(values, field, edges, weights, spin, scale, n_sweeps, order, clamped):
    """Sweeps of all rows at once, in the arithmetic of their type: only the logistic is finer."""
    values = values.copy()
    n, m = values.shape
    dtype = values.dtype.type
    of_unit = [[e for e, edge in enumerate(edges) if i in edge] for i in range(m)]
    closest = np.inf
    for s in range(n_sweeps):
        u = philox_oracle.uniform(SEED, STREAM, STEP + s, ROW0, n, m, dtype)
        for i in range(m) if order is None else order:
            total = np.array(np.broadcast_to(field, (n, m))[:, i])
            for e in of_unit[i]:
                total += weights[e] * values[:, [k for k in edges[e] if k != i]].prod(axis=1)
            a = dtype(scale) * total
            p = expit((a + a if spin else a).astype(np.float64))
            moves = np.ones(n, dtype=bool) if clamped is None else clamped[:, i] == 0
            closest = min(closest, np.abs(u[moves, i] - p[moves]).min(initial=np.inf))
            new = np.where(u[:, i] < p, dtype(1), dtype(-1 if spin else 0))
            values[:, i] = np.where(moves, new, values[:, i])
    return values, closest


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    "size", [(1, 1), (15, 3), (16, 33), (17, 70), (33, 64), (49, 5), (64, 9), (65, 12), (130, 6)]
)
def test_lanes(size, ordered, shared, spin, dtype, kernels):
    """Every kernel, with and without tables, full and partly filled lanes.

    Deliberate bugs that this catches: fields of chains turned wrongly, keys of one sweep used
    in the next, clamped bits the wrong way round,
    AND instead of XNOR for spins.
    """
    n, m = size
    random, values, field = start(n, m, spin, dtype)
    field = field[0].copy() if shared else field
    edges = edges_of(random, m)
    weights = random.standard_normal(len(edges)).astype(dtype)
    order = random.integers(0, m, 2 * m) if ordered else None
    clamped = (random.integers(0, 4, (n, m)) == 0).astype(np.uint8) if ordered else None
    sweep = {"order": order, "clamped": clamped, "scale": 0.9, "spin": spin, "n_sweeps": 3}
    expected, closest = all_rows(values, field, edges, weights, **sweep)
    assert closest > (5e-7 if dtype == np.float32 else 1e-12)  # a property of the fixed seed
    index = site_gibbs.index_edges(edges, m)
    for name in kernels:
        site_gibbs.kernel(name)
        for n_threads in (1, 2, 3):
            got = values.copy()
            site_gibbs.sweep_hyperedges(
                got, field, weights, *index, n_threads=n_threads, **sweep, **ADDRESS
            )
            assert np.array_equal(got, expected), name


@pytest.mark.parametrize("case", range(40))
def test_kernels_agree(case, kernels):
    """More sweeps of more kinds than the slow loop can do: the same bits from every kernel.

    Deliberate bug that this catches: lanes for states that are not binary.
    """
    random = np.random.default_rng(case)
    dtype = DTYPES[case % 2]
    spin = bool(case // 2 % 2)
    n = int(random.choice([4, 15, 16, 17, 33, 48, 64, 100]))
    m = int(random.integers(1, 71))
    degree = random.choice([0.5, 1, 2, 5])
    pairs_only = m > 1 and random.integers(2)
    sizes = random.integers(1, min(m, 4) + 1, size=int(degree * m / 2) + 1)
    edges = [random.choice(m, size=2 if pairs_only else k, replace=False) for k in sizes]
    index = site_gibbs.index_edges(edges, m)
    weights = random.normal(0, random.choice([0.1, 1, 30]), len(edges)).astype(dtype)
    if random.integers(2):
        weights = np.round(weights)  # equal ones
    if case % 9 == 8:
        weights[0] = np.inf
    field = np.round(random.normal(0, 1, (n, m)), int(random.integers(1, 5))).astype(dtype)
    if random.integers(2):
        field = field[0] if random.integers(2) else np.repeat(field[:1], n, axis=0)
    values = random.integers(0, 2, (n, m)).astype(dtype)
    values = 2 * values - 1 if spin else values
    if case % 7 == 6:
        values[random.integers(n), random.integers(m)] = 0.5
    how = {
        "order": [None, random.permutation(m), random.integers(0, m, m // 2)][random.integers(3)],
        "clamped": None if random.integers(2) else random.integers(0, 3, (n, m)) == 0,
        "scale": random.choice([1, 0.3, 2.5, -1]),
        "spin": spin,
        "n_sweeps": 40,
        "row0": int(random.choice([0, 2**32 - 200])),
        "seed": int(random.integers(2**63)),
    }
    results = []
    for name in kernels:
        site_gibbs.kernel(name)
        for n_threads in (1, 2):
            results.append(values.copy())
            with np.errstate(invalid="ignore"):
                site_gibbs.sweep_hyperedges(
                    results[-1], field, weights, *index, n_threads=n_threads, **how
                )
    for result in results[1:]:
        assert result.tobytes() == results[0].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tables_change_nothing(dtype, kernels):
    """One chain with a field of its own takes the tables away from all; the others do not notice.

    Deliberate bug that this catches: levels computed without the scale, tables shared by
    units of different weights.
    """
    random, values, field = start(64, 70, True, dtype)
    field = np.zeros_like(field)  # tables differ by the weights alone
    edges = np.array([random.choice(70, size=2, replace=False) for _ in range(100)])
    index = site_gibbs.index_edges(edges, 70)
    weights = random.standard_normal(100).astype(dtype)
    other = field.copy()
    other[63] += 0.5
    for name in kernels[1:]:
        site_gibbs.kernel(name)
        with_tables, without = values.copy(), values.copy()
        how = {"spin": True, "n_sweeps": 500, "scale": 0.7} | ADDRESS
        site_gibbs.sweep_hyperedges(with_tables, field, weights, *index, **how)
        site_gibbs.sweep_hyperedges(without, other, weights, *index, **how)
        assert np.array_equal(with_tables[:63], without[:63])
        assert not np.array_equal(with_tables[63], without[63])


@pytest.mark.parametrize("spin", [False, True])
def test_closest_calls(spin, kernels):
    """At the two neighbouring fields between which a draw changes, every kernel has it right.

    Deliberate bug that this catches: levels one too high.
    """
    m, n = 500, 64
    index = site_gibbs.index_edges([], m)
    none = np.empty(0, dtype=np.float32)

    def draw(field, rows):
        values = np.full((rows, m), -1 if spin else 0, dtype=np.float32)
        site_gibbs.sweep_hyperedges(values, field, none, *index, spin=spin, **ADDRESS)
        return values[0] == 1

    low, high = np.full(m, -30, dtype=np.float32), np.full(m, 30, dtype=np.float32)
    site_gibbs.kernel("scalar")
    while (np.nextafter(low, high) < high).any():
        middle = (low + high) / 2
        middle = np.where((middle > low) & (middle < high), middle, np.nextafter(low, high))
        upper = draw(middle, 1)
        low, high = np.where(upper, low, middle), np.where(upper, middle, high)
    for name in kernels:
        site_gibbs.kernel(name)
        for field, expected in ((low, False), (high, True)):
            for other in (0, 1):  # with and without tables
                fields = np.repeat(field[None], n, axis=0)
                fields[1:] += other
                assert (draw(fields, n) == expected).all(), (name, other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_weight_times_zero(dtype, kernels):
    """0 times infinity is not a number, and p is then not above any uniform."""
    values = np.zeros((64, 2), dtype=dtype)
    clamped = np.tile(np.array([1, 0], dtype=np.uint8), (64, 1))
    index = site_gibbs.index_edges([(0, 1)], 2)
    for name in kernels:
        site_gibbs.kernel(name)
        weights = np.array([np.inf], dtype=dtype)
        site_gibbs.sweep_hyperedges(
            values, np.zeros_like(values), weights, *index, clamped=clamped, n_sweeps=3
        )
        assert not values.any()


def test_pieces_of_lanes_change_nothing(kernels):
    """A call long enough to be cut by sweeps and by rows, with threads."""
    random, values, field = start(300, 400, True, np.float32)
    edges = np.stack([np.arange(400), np.roll(np.arange(400), -1)], axis=1)
    index = site_gibbs.index_edges(edges, 400)
    weights = random.standard_normal(400).astype(np.float32)
    for name in kernels[1:]:
        site_gibbs.kernel(name)
        whole, part = values.copy(), values[100:163].copy()
        site_gibbs.sweep_hyperedges(
            whole, field, weights, *index, spin=True, n_sweeps=1500, n_threads=2
        )
        for step in range(0, 1500, 500):
            site_gibbs.sweep_hyperedges(
                part, field[100:163], weights, *index, spin=True, n_sweeps=500, step=step, row0=100
            )
        assert np.array_equal(whole[100:163], part)


def test_one_field_for_all():
    random, values, field = start(5, 8, False, np.float32)
    couplings = symmetric(random, 8, np.float32)
    one, each = values.copy(), values.copy()
    site_gibbs.sweep_dense(one, field[0], couplings, n_sweeps=9)
    site_gibbs.sweep_dense(each, np.repeat(field[:1], 5, axis=0), couplings, n_sweeps=9)
    assert np.array_equal(one, each)


def test_kernel_names(kernels):
    assert site_gibbs.kernel("portable") == "portable" == site_gibbs.kernel()
    with pytest.raises(ValueError, match="kernel 'fast' does not exist"):
        site_gibbs.kernel("fast")


@pytest.mark.parametrize("spin", [False, True])
def test_pairs_both_ways(spin):
    """A dense matrix and the list of its pairs are the same model."""
    random, values, field = start(6, 9, spin, np.float64)
    couplings = symmetric(random, 9, np.float64)
    pairs = [(i, j) for i in range(9) for j in range(i)]
    weights = np.array([couplings[pair] for pair in pairs])
    dense, sparse = values.copy(), values.copy()
    how = {"n_sweeps": 20, "spin": spin} | ADDRESS
    site_gibbs.sweep_dense(dense, field, couplings, **how)
    site_gibbs.sweep_hyperedges(sparse, field, weights, *site_gibbs.index_edges(pairs, 9), **how)
    assert np.array_equal(dense, sparse)
    assert not np.array_equal(dense, values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("ordered", ["", "some, one twice", "by colour"])
def test_sites_at_once_change_nothing(ordered, n, spin, dtype):
    """Fewer chains than threads draw sites at once that do not meet. Catches a level that is too
    low, an edge of three that is not looked at, random words of the wrong unit, a clamped unit."""
    m = 20011
    random, values, field = start(n, m, spin, dtype)
    if ordered == "by colour":
        edges = [(i, i + 1) for i in range(m - 1)]
        order = [*range(0, m, 2), *range(1, m, 2)]
    else:
        # far neighbours, so that many sites do not meet those before them
        edges = [(i, i + 6007) for i in range(m - 6007)]
        edges += [(i, i + 9001, i + 9500) for i in range(0, m - 9500, 3)]
        order = [*random.permutation(m)[:19000].tolist(), 5] if ordered else None
    weights = random.standard_normal((n, len(edges))).astype(dtype)
    clamped = random.random((n, m)) < 0.1
    index = site_gibbs.index_edges(edges, m)
    how = {"order": order, "clamped": clamped, "spin": spin, "scale": 0.7, "n_sweeps": 5}
    made = []
    for n_threads in (1, 3, 4):
        here = values.copy()
        site_gibbs.sweep_hyperedges(
            here, field, weights, *index, **how, **ADDRESS, n_threads=n_threads
        )
        made.append(here.tobytes())
    assert (here != values).any()
    assert made[0] == made[1] == made[2]


def test_color_units():
    """No edge has a colour twice, no unit a colour above a free one. Catches an edge's
    other units overlooked, a colour taken from a unit that has none yet."""
    random = np.random.default_rng(3)
    for m, n_edges in ((1, 0), (5, 0), (40, 60), (300, 2000)):
        sizes = random.integers(2, 5, n_edges)
        edges = [random.choice(m, size=k, replace=False).tolist() for k in sizes]
        colors = site_gibbs.color_units(*site_gibbs.index_edges(edges, m))
        assert colors.dtype == np.int64 and colors.shape == (m,)
        met = [set() for _ in range(m)]
        for edge in edges:
            assert len({int(colors[i]) for i in edge}) == len(edge)
            for i in edge:
                met[i] |= {int(colors[j]) for j in edge if j < i}
        assert all(c == min(set(range(m + 1)) - met[i]) for i, c in enumerate(colors))


def test_sweeps_continue_where_the_last_call_stopped():
    random, values, field = start(5, 20, False, np.float32)
    couplings = symmetric(random, 20, np.float32)
    once, twice = values.copy(), values.copy()
    site_gibbs.sweep_dense(once, field, couplings, n_sweeps=7, seed=1, step=10)
    site_gibbs.sweep_dense(twice, field, couplings, n_sweeps=3, seed=1, step=10)
    site_gibbs.sweep_dense(twice, field, couplings, n_sweeps=4, seed=1, step=13)
    assert np.array_equal(once, twice)


def test_pieces_change_nothing():
    """A call long enough to be cut into pieces, by sweeps and by rows."""
    random, values, field = start(3, 300, True, np.float32)
    couplings = symmetric(random, 300, np.float32)
    many, few = values.copy(), values.copy()
    site_gibbs.sweep_dense(many, field, couplings, spin=True, n_sweeps=400, seed=2)
    for step in range(0, 400, 50):
        site_gibbs.sweep_dense(few, field, couplings, spin=True, n_sweeps=50, seed=2, step=step)
    assert np.array_equal(many, few)

    random, values, field = start(500, 300, True, np.float32)
    whole, part = values.copy(), values[460:].copy()
    site_gibbs.sweep_dense(whole, field, couplings, spin=True, seed=2)
    site_gibbs.sweep_dense(part, field[460:], couplings, spin=True, seed=2, row0=460)
    assert np.array_equal(whole[460:], part)


@pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="needs a timer that sends a signal to this process"
)
@pytest.mark.parametrize("kind", ["dense", "hyperedges"])
def test_interrupt(kind):
    """A call of many minutes stops soon after a signal."""
    assert threading.current_thread() is threading.main_thread()

    class StopHere(Exception):  # noqa: N818
        pass

    def handler(signum, frame):
        raise StopHere

    random, values, field = start(200, 200, False, np.float32)
    how = {"n_sweeps": 10**7}
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    began = time.perf_counter()
    try:
        with pytest.raises(StopHere):
            if kind == "dense":
                site_gibbs.sweep_dense(values, field, symmetric(random, 200, np.float32), **how)
            else:
                edges = edges_of(random, 200)
                weights = np.ones(len(edges), dtype=np.float32)
                index = site_gibbs.index_edges(edges, 200)
                site_gibbs.sweep_hyperedges(values, field, weights, *index, **how)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.perf_counter() - began < 5  # ten milliseconds are aimed at, machines are busy
    assert set(np.unique(values)) <= {0.0, 1.0}


def test_index_edges():
    edge_offsets, edge_units, unit_offsets, unit_edges = site_gibbs.index_edges(
        [(2, 0), (1,), (), (0, 1, 3)], 5
    )
    assert edge_offsets.tolist() == [0, 2, 3, 3, 6]
    assert edge_units.tolist() == [2, 0, 1, 0, 1, 3]
    assert unit_offsets.tolist() == [0, 2, 4, 5, 6, 6]
    assert unit_edges.tolist() == [0, 3, 1, 3, 0, 3]
    assert [a.tolist() for a in site_gibbs.index_edges([], 2)] == [[0], [], [0, 0, 0], []]
    array = np.array([[0, 1, 2], [1, 2, 3]])
    assert site_gibbs.index_edges(array, 4)[1].tolist() == [0, 1, 2, 1, 2, 3]


V, F, C = np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((3, 3))
INDEX = site_gibbs.index_edges([(0, 1), (1, 2)], 3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: site_gibbs.sweep_dense(V, F, np.eye(3)), "diagonal that is not zero"),
        (lambda: site_gibbs.sweep_dense(V, F, np.zeros((4, 4))), "couplings has shape"),
        (lambda: site_gibbs.sweep_dense(V, F, np.zeros((3, 3, 3))), "couplings has shape"),
        (lambda: site_gibbs.sweep_dense(V, F[0, :2], C), "field has shape"),
        (lambda: site_gibbs.sweep_dense(V, V, C), "share memory"),
        (lambda: site_gibbs.sweep_dense(V, F, C, order=[0, 3]), "order has entries"),
        (lambda: site_gibbs.sweep_dense(V, F, C, order=[0.5]), "expected 1-D integers"),
        (lambda: site_gibbs.sweep_dense(V, F, C, clamped=np.zeros((2, 3))), "clamped has dtype"),
        (lambda: site_gibbs.sweep_dense(V, F, C, n_sweeps=-1), "n_sweeps is -1"),
        (lambda: site_gibbs.sweep_dense(V, F, C, step=2**32 - 2, n_sweeps=3), "exceeds"),
        (lambda: site_gibbs.sweep_hyperedges(V, F, np.zeros(3), *INDEX), "edge_offsets has 3"),
        (
            lambda: site_gibbs.sweep_hyperedges(
                V, F, np.zeros(2), INDEX[0], np.full(4, 3), *INDEX[2:]
            ),
            "edge_units has entries",
        ),
        (
            lambda: site_gibbs.sweep_hyperedges(V, F, np.zeros(2), np.array([0, 5, 4]), *INDEX[1:]),
            "edge_offsets has entries",
        ),
        (lambda: site_gibbs.index_edges([(0, 1), (2, 1, 2)], 3), r"edge 1, \(2, 1, 2\), names"),
        (lambda: site_gibbs.index_edges([(0, 3)], 3), "edges has entries"),
    ],
)
def test_sentences(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
