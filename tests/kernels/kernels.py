"""Call every compiled kernel over odd sizes, for the sanitizers to watch. See call_all.sh.

Arrays have no slack: one entry read or written too far is in a guard. Where two settings must give
the same bytes, they are compared, so that the calls are seen to do their work.

    kernels.py folder [module ...]
"""

import itertools
import sys
from functools import partial
from pathlib import Path

import numpy as np

import fastboltz_ext
from fastboltz_ext import (
    averages,
    layers,
    packed,
    philox,
    processor,
    recurrent,
    site_gibbs,
    updates,
)

SIZES = (1, 3, 4, 5, 8, 15, 17, 31, 33, 65, 129, 145)
FEW = (1, 7, 17, 33, 66)
DTYPES = (np.float32, np.float64)
ADDRESS = {"seed": 2**63 + 5, "stream": 7, "step": 2**32 - 9, "row0": 2**32 - 300}
KERNELS = ["portable"]
random = np.random.default_rng(0)


def numbers(*shape, dtype=np.float32, scale=0.3):
    return (scale * random.standard_normal(shape)).astype(dtype)


def bits(n, m, low=0.0):
    """As many ones as zeros, or few, or ones alone: ones are added up where they are few enough."""
    p = (0.5, 0.1, 1.0)[(n + m) % 3]
    return packed.Bits.pack(np.where(random.random((n, m)) < p, 1.0, low), low=low)


def same(results):
    assert len(set(results)) == 1, "results depend on what they must not"


def drive_philox():
    for n, m, threads in itertools.product((0, *FEW), (0, *SIZES), (1, 3)):
        words = np.empty((n, m), dtype=np.uint32)
        philox.words(*ADDRESS.values(), words, n_threads=threads)
        for dtype in DTYPES:
            philox.uniform(*ADDRESS.values(), np.empty((n, m), dtype=dtype), n_threads=threads)


def drive_averages():
    address = np.array([5, 6, 7, 8], dtype=np.uint64)
    for n, m in itertools.product((0, *FEW, 64, 130), (*SIZES, 1100)):
        # First bytes of each kind, and ties: every second threshold is a number of few bits.
        thresholds = random.integers(0, 2**32, m, dtype=np.uint64)
        thresholds[::2] &= np.uint64(0x03FFFFFF)
        thresholds[m // 2] = 2**32
        results = []
        for kernel in processor.kernels():
            out = np.empty((n, (m + 15) // 16 * 16), dtype=np.uint8)
            averages.ones(address, ADDRESS["row0"], 9, thresholds, out, kernel=kernel)
            results.append(out[:, :m].tobytes())
        same(results)


def drive_layers():
    for dtype, n, n_in, n_out in itertools.product(DTYPES, (0, *FEW), (0, *FEW), (0, *FEW)):
        x, w, bias = (numbers(*s, dtype=dtype) for s in ((n, n_in), (n_in, n_out), (n_out,)))
        y = np.empty((n, n_out), dtype=dtype)
        mean, sample = np.empty_like(y), np.empty_like(y)
        spin, threads = bool((n + n_in) % 2), 1 + n_out % 3
        layers.product(x, w, y, n_threads=threads)
        layers.product(x, w.T.copy(), y, transpose=True, beta=1.0, n_threads=threads)
        layers.outer(x, y, np.empty((n_in, n_out), dtype=dtype), n_threads=threads)
        layers.draw(y, bias, spin=spin, mean=mean, sample=sample, n_threads=threads, **ADDRESS)
        for transpose in (False, True):
            given = w.T.copy() if transpose else w
            layers.layer(
                x, given, bias, transpose=transpose, spin=spin, mean=mean, sample=sample,
                n_threads=threads, **ADDRESS,
            )  # fmt: skip
        layers.cumulant_sum(y, bias, np.empty(n), spin=spin, n_threads=threads)
    for dtype in DTYPES:  # cut into tiles, and with threads at work
        x, w = numbers(259, 1031, dtype=dtype), numbers(1031, 77, dtype=dtype)
        y = np.empty((259, 77), dtype=dtype)
        layers.product(x, w, y, n_threads=3)
        layers.outer(x, y, w.copy(), n_threads=3)
        layers.layer(x, w, None, mean=y, n_threads=3)


def drive_updates():
    for dtype, n, threads in itertools.product(DTYPES, (0, *SIZES, 70_001), (1, 3)):
        p, g, a, b = (numbers(n, dtype=dtype) for _ in range(4))
        how = {"learning_rate": 0.1, "l1": 0.1, "l2": 0.1, "n_threads": threads}
        updates.sgd(p, g, None, **how)
        updates.sgd(p, g, a, momentum=0.5, **how)
        updates.adam(p, g, a, np.abs(b), beta1=0.9, beta2=0.9, epsilon=1e-8, t=3, **how)


def site_kernels():
    """The kernels of site sweeps that this processor can run."""
    names = []
    for name in ("scalar", "portable", "avx512"):
        try:
            site_gibbs.kernel(name)
        except ValueError:
            continue
        names.append(name)
    return names


def drive_site_gibbs():
    for dtype, n, m, spin in itertools.product(DTYPES, (0, 1, 3, 17), SIZES[:9], (False, True)):
        values = np.where(random.random((n, m)) < 0.5, 1, -1 if spin else 0).astype(dtype)
        field = numbers(n, m, dtype=dtype)
        how = {"n_sweeps": 3, "spin": spin, "n_threads": 1 + m % 3} | ADDRESS
        how |= {"clamped": random.random((n, m)) < 0.3, "order": random.permutation(m)}
        for shape in ((m, m), (n, m, m)):
            w = numbers(*shape, dtype=dtype)
            w = (w + np.swapaxes(w, -1, -2)) * (1 - np.eye(m, dtype=dtype))
            site_gibbs.sweep_dense(values, field, w.astype(dtype), **how)
        sizes = random.integers(0, min(m, 4) + 1, size=m + 2)
        edges = [random.choice(m, size=k, replace=False) for k in sizes]
        index = site_gibbs.index_edges(edges, m)
        for shape in ((len(edges),), (n, len(edges))):
            w = numbers(*shape, dtype=dtype)
            results = []
            for kernel in site_kernels():
                site_gibbs.kernel(kernel)
                results.append(values.copy())
                site_gibbs.sweep_hyperedges(results[-1], field, w, *index, **how)
            same([x.tobytes() for x in results])
    # Few chains, and many sites that can be drawn at once.
    m = 8209
    index = site_gibbs.index_edges([(i, i + 1) for i in range(m - 1)], m)
    order = np.concatenate([np.arange(0, m, 2), np.arange(1, m, 2)])
    for dtype in DTYPES:
        w, field = numbers(m - 1, dtype=dtype), numbers(m, dtype=dtype)
        results = []
        for threads in (1, 3):
            results.append(np.zeros((2, m), dtype))
            site_gibbs.sweep_hyperedges(
                results[-1], field, w, *index, order=order, n_sweeps=2, n_threads=threads, **ADDRESS
            )
        same([x.tobytes() for x in results])


def drive_bits():
    for dtype, n, m, low in itertools.product(DTYPES, (0, *FEW), (0, *SIZES), (0.0, -1.0)):
        x = np.where(random.random((n, m)) < 0.5, 1.0, low).astype(dtype)
        packed_x = packed.Bits.pack(x, low=low)
        for back in DTYPES:
            assert np.array_equal(packed_x.unpack(dtype=back), x)
    for n, m in itertools.product((0, *FEW), (0, *SIZES)):
        assert packed.fits(numbers(n, m))
        assert packed.fits(np.full((n, m), 0.9 * 2000 / max(n, m, 2), dtype=np.float32))
        if n and m:
            assert not packed.fits(np.full((n, m), 2000, dtype=np.float32))
            assert not packed.fits(np.full((n, m), np.inf, dtype=np.float32))


def everything_of_a_layer(x, w, bias, transpose, spin, threads):
    n, n_out = len(x), w.shape[0 if transpose else 1]
    sample = packed.Bits(n, n_out, low=-1.0 if spin else 0.0)
    sample.words[...] = 0xFFFFFFFF
    mean, field = (np.empty((n, n_out), dtype=np.float32) for _ in range(2))
    cumulant, other = np.empty(n), np.empty(n)
    packed.layer(
        x, w, bias, transpose=transpose, scale=0.7, spin=spin, sample=sample, mean=mean,
        field=field, cumulant=cumulant, other=(bias, 0.3, other), n_threads=threads, **ADDRESS,
    )  # fmt: skip
    alone = packed.Bits(n, n_out, low=sample.low)
    packed.layer(x, w, None, transpose=transpose, spin=spin, sample=alone, n_threads=threads)
    outputs = (sample.words, mean, field, cumulant, other, alone.words)
    return b"".join(a.tobytes() for a in outputs)


def drive_packed_layers():
    shapes = [
        *itertools.product((0, *FEW), (0, *FEW), (0, *SIZES)),
        (33, 300, 517),
        (300, 200, 290),
        (65, 640, 9),
        (16, 641, 33),
        (130, 1284, 8),
    ]
    for n, n_in, n_out in shapes:
        spin_in, spin, transpose = bool(n % 2), bool(n_in % 3), bool(n_out % 2)
        x = bits(n, n_in, -1.0 if spin_in else 0.0)
        w = numbers(n_out, n_in) if transpose else numbers(n_in, n_out)
        bias = numbers(n_out)
        results = []
        for kernel in KERNELS:
            packed.kernel(kernel)
            for threads in (1, 3) if n * n_in * n_out > 10**6 else (1,):
                results.append(everything_of_a_layer(x, w, bias, transpose, spin, threads))
        same(results)
        fields = numbers(n, n_out)
        same([packed.row_bias(fields, bias, n_threads=threads).tobytes() for threads in (1, 3)])
    # Sums that come close to 2**31 units, of both signs, between spins.
    n, m = 33, 65
    for sign in (-1, 1):
        w = np.full((m, m), sign * 1999.99 / m, dtype=np.float32)
        assert packed.fits(w)
        x = packed.Bits.pack(np.where(np.arange(n)[:, None] < 16, np.ones((n, m)), -1.0), low=-1.0)
        results = []
        for kernel in KERNELS:
            packed.kernel(kernel)
            results.append(everything_of_a_layer(x, w, numbers(m) * 0, True, True, 1))
        same(results)


def drive_gated():
    """Of products of three, gates that are open for all rows, for half, for few and for none."""
    shapes = [
        *itertools.product((0, *FEW), (1, 7, 33, 66), (1, 8, 17, 33), (1, 3)),
        (1100, 41, 24, 2),
    ]
    for number, (n, n_in, n_out, n_gates) in enumerate(shapes):
        x, threads = bits(n, n_in, -1.0 if n % 2 else 0.0), 1 + 2 * (number % 2)
        w = numbers(n_gates, n_in, n_out)
        if number % 3 == 0:
            w = numbers(n_gates, n_out, n_in).swapaxes(1, 2)
        gate = np.where(random.random((n, n_gates)) < (1, 0.5, 0.07)[number % 3], 1, 0)
        gate = (gate * numbers(n, n_gates)).astype(np.float32)
        gate[:, -1] *= number % 5 > 0
        results = []
        for kernel in KERNELS:
            packed.kernel(kernel)
            out = np.empty((n, n_out), dtype=np.float32)
            assert packed.gated(x, gate, w, out, n_threads=threads) == np.abs(w).max() or n == 0
            results.append(out.tobytes())
        same(results)


def row_words(x):
    """Rows of bits as `PairLoop.run` takes them."""
    n, m = x.shape
    wide = np.zeros((n, -(-m // 32) * 32), dtype=np.uint8)
    wide[:, :m] = x
    return np.packbits(wide, axis=1, bitorder="little").view(np.uint32)


def train(
    n, visible, hidden, batch, chains, persistent, real, momentum, centred, spin, bits, threads
):
    random = np.random.default_rng((n, visible, hidden))
    x = random.random((n, visible)) < 0.4
    data = random.random((n, visible)).astype(np.float32) if real else row_words(x)
    shapes = ((hidden, visible), (visible,), (hidden,))
    params = [(0.3 * random.standard_normal(s)).astype(np.float32) for s in shapes]
    velocities = [np.zeros(s, dtype=np.float32) for s in shapes] if momentum else None
    offsets = [np.full(s, 0.5, dtype=np.float32) for s in shapes[1:]] if centred else None
    loop = packed.PairLoop(
        *params, max_rows=batch, n_chains=chains if persistent else batch, persistent=persistent,
        n_gibbs=1 + n % 2, momentum=momentum, l1=0.01 * momentum, l2=0.01 * momentum,
        velocities=velocities, offsets=offsets, spin_visible=spin[0], spin_hidden=spin[1],
        mean_bits=bits, real=real, seed=2**64 - 1, n_threads=threads,
    )  # fmt: skip
    if persistent:
        start = np.where(random.random((chains, hidden)) < 0.5, 1.0, -1.0 if spin[1] else 0.0)
        loop.set_chains(packed.Bits.pack(start, low=-1.0 if spin[1] else 0.0))
    rows = random.permutation(n).astype(np.int64)
    rates = np.full(-(-n // batch), 0.05, dtype=np.float32)
    assert loop.run(data, rows, batch, rates, first=True) == len(rates)
    assert all(np.isfinite(p).all() for p in params)
    return b"".join(p.tobytes() for p in params) + loop.chains()[1].words.tobytes()


def drive_pair_loop():
    sizes = [
        (1, 1, 1, 1, 1), (10, 5, 3, 4, 7), (37, 33, 17, 16, 33), (40, 64, 32, 33, 1),
        (70, 65, 129, 32, 40), (66, 31, 66, 65, 2), (5, 97, 8, 5, 64), (130, 257, 300, 128, 128),
    ]  # fmt: skip
    flags = list(itertools.product((False, True), repeat=2))
    for i, size in enumerate(sizes):
        for j, (persistent, real) in enumerate(itertools.product((False, True), repeat=2)):
            spin = flags[(i + j) % 4]
            momentum, centred = 0.5 * ((i + j // 2) % 2), (i // 2 + j) % 2 == 0
            for bits in (10, 20):
                options = (persistent, real, momentum, centred, spin, bits)
                results = []
                for kernel in KERNELS:
                    packed.kernel(kernel)
                    for threads in (1, 3) if i == len(sizes) - 1 else (1,):
                        results.append(train(*size, *options, threads))
                same(results)


def drive_recurrent():
    for dtype, steps, rows, k in itertools.product(DTYPES, (0, 1, 4), (0, 1, 5), (1, 7, 16, 33)):
        made = partial(numbers, dtype=dtype)
        reset = random.random((steps, rows)) < 0.3
        start, state, shape = made(k), made(rows, k), (steps, rows, k)
        before, after = np.empty(shape, dtype), np.empty(shape, dtype)
        back = (reset, made(*shape), made(rows, k), made(k))
        recurrent.tanh_forward(state, start, made(k, k), made(*shape), reset, before, after)
        recurrent.tanh_backward(made(k, k), after, *back, np.empty(shape, dtype))
        assert np.isfinite(back[2]).all()
        kept, drives = made(steps, rows, 4 * k), made(steps, rows, 3 * k)
        recurrent.gru_forward(state, start, made(k, 3 * k), drives, reset, before, after, kept)
        recurrent.gru_backward(made(3 * k, k), before, kept, *back, drives)
        assert np.isfinite(back[2]).all()


DRIVERS = {
    "averages": [drive_averages],
    "philox": [drive_philox],
    "layers": [drive_layers],
    "recurrent": [drive_recurrent],
    "updates": [drive_updates],
    "site_gibbs": [drive_site_gibbs],
    "packed": [drive_bits, drive_packed_layers, drive_gated, drive_pair_loop],
}


def main(folder, *names):
    # Not some other build, which nobody watches.
    assert Path(packed.__file__).is_relative_to(folder), packed.__file__
    assert Path(fastboltz_ext.__file__).is_relative_to(folder), fastboltz_ext.__file__
    KERNELS.extend(name for name in packed.kernels() if name not in KERNELS)
    for name in names or DRIVERS:
        for driver in DRIVERS[name]:
            driver()
    print("clean:", " ".join(names or DRIVERS), "with", " and ".join(KERNELS))
    print("site sweeps with", " and ".join(site_kernels()))


if __name__ == "__main__":
    main(*sys.argv[1:])
