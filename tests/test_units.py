"""The contract of a unit type, in one loop over all types."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from catalogue import TYPES
from scipy import integrate, special

from fastboltz import rng

N_ROWS = 5

SHAPES = {
    "bernoulli": [(3,), (2, 2)],
    "spin": [(3,), (2, 2)],
    "categorical": [(3,), (2, 4), (2, 2, 3)],
    "gaussian": [(3,), (2, 2)],
    "relu": [(3,), (2, 2)],
    "unit-interval": [(3,), (2, 2)],
}
CASES = [(kind, shape) for kind, shapes in SHAPES.items() for shape in shapes]
every_unit = pytest.mark.parametrize(
    ("kind", "shape"), CASES, ids=lambda v: v if isinstance(v, str) else str(v)
)


def _own(kind, shape, seed=0):
    rng = np.random.default_rng(seed)
    own = {"bias": rng.standard_normal(shape)}
    if kind in oracles.PRECISE:
        own["log_precision"] = rng.uniform(-0.5, 0.8, shape)
    return own


def _field(shape, seed=1, scale=1.5):
    return scale * np.random.default_rng(seed).standard_normal((N_ROWS, *shape))


def _uniform_shape(kind, shape):
    return shape[:-1] if kind == "categorical" else shape


def _density_parts(kind, own, field, position):
    """Return (linear, quadratic) of log density linear*x - quadratic*x**2/2 of one unit of one
    row."""
    gamma = np.exp(own["log_precision"][position]) if "log_precision" in own else 0.0
    return own["bias"][position] + field[position], gamma


def _peak(kind, linear, gamma):
    """Return where exp(linear x - gamma x^2 / 2) is largest on its support, and its logarithm."""
    if kind == "unit-interval":
        return float(linear > 0), max(linear, 0.0)
    peak = linear / gamma if kind == "gaussian" else max(linear / gamma, 0.0)
    return peak, linear * peak - 0.5 * gamma * peak**2


def _integrals(kind, linear, gamma, powers):
    """Return the integrals of x^k exp(linear x - gamma x^2 / 2), relative to the peak."""
    peak, top = _peak(kind, linear, gamma)
    low, high = {"relu": (0.0, 40.0), "unit-interval": (0.0, 1.0)}.get(kind, (-40.0, 40.0))

    def weigh(x, k):
        return x**k * np.exp(linear * x - 0.5 * gamma * x * x - top)

    options = {"points": [peak], "epsabs": 1e-14, "epsrel": 1e-12, "limit": 300}
    return [integrate.quad(weigh, low, high, args=(k,), **options)[0] for k in powers]


def _raw_moments(kind, own, field, powers):
    """Return E[x**k] of every entry, (n_rows, *shape) for each k, by sums and adaptive
    quadrature."""
    out = [np.zeros(field.shape) for _ in powers]
    for row in range(len(field)):
        for position in np.ndindex(*field.shape[1:]):
            linear, gamma = _density_parts(kind, own, field[row], position)
            if kind in oracles.CONTINUOUS:
                moments = _integrals(kind, linear, gamma, (0, *powers))
                for o, m in zip(out, moments[1:], strict=True):
                    o[(row, *position)] = m / moments[0]
                continue
            states = np.array([0.0, 1.0]) if kind != "spin" else np.array([-1.0, 1.0])
            if kind == "categorical":
                total = own["bias"][position[:-1]] + field[row][position[:-1]]
                p_on = special.softmax(total)[position[-1]]
                p = np.array([1.0 - p_on, p_on])
            else:
                p = special.softmax(linear * states)
            for o, k in zip(out, powers, strict=True):
                o[(row, *position)] = p @ states**k
    return out


@every_unit
def test_base_energy_is_the_declared_formula(kind, shape):
    """Catches a dropped half in the quadratic part, or a bias with the other sign."""
    own, unit = _own(kind, shape), TYPES[kind](*shape)
    x = (
        np.abs(_field(shape))
        if kind in oracles.PRECISE
        else unit.sample(
            own,
            _field(shape),
            np.random.default_rng(3).random((N_ROWS, *_uniform_shape(kind, shape))),
        )
    )
    expected = oracles.base_energy(kind, own, x).reshape(N_ROWS, -1).sum(axis=1)
    np.testing.assert_allclose(unit.base(own, x), expected, rtol=1e-12)


@every_unit
@pytest.mark.parametrize("scale", [1.0, 0.4, 2.5])
def test_cumulant_is_the_log_of_the_sum_over_states(kind, shape, scale):
    """With the field scaled, the base energy as it is.

    Catches a missing normaliser (2 pi / gamma), log 2 cosh without the 2, or a scale that reaches
    the bias too.
    """
    own, field = _own(kind, shape), _field(shape)
    expected = np.zeros(N_ROWS)
    for row in range(N_ROWS):
        for position in np.ndindex(*_uniform_shape(kind, shape)):
            if kind == "categorical":
                total = own["bias"][position] + scale * field[row][position]
                expected[row] += special.logsumexp(total)
                continue
            linear, gamma = _density_parts(kind, own, scale * field[row], position)
            if kind in oracles.CONTINUOUS:
                expected[row] += np.log(_integrals(kind, linear, gamma, (0,))[0])
                expected[row] += _peak(kind, linear, gamma)[1]
            else:
                expected[row] += special.logsumexp(linear * oracles.unit_states(kind, shape))
    found = TYPES[kind](*shape).cumulant(own, field, scale=scale)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@every_unit
def test_first_and_second_derivative_of_the_cumulant_are_mean_and_variance(kind, shape):
    """Catches tanh(x/2) for tanh(x), a variance without 1/gamma, or a softmax over the wrong
    axis."""
    own, field, unit = _own(kind, shape), _field(shape), TYPES[kind](*shape)
    mean, variance = unit.mean(own, field), unit.variance(own, field)
    assert mean.shape == variance.shape == field.shape
    for position in np.ndindex(*shape):
        at = (slice(None), *position)

        def cumulant(step, at=at):
            moved = field.copy()
            moved[at] += step
            return unit.cumulant(own, moved)

        step = 1e-5
        np.testing.assert_allclose(
            (cumulant(step) - cumulant(-step)) / (2 * step), mean[at], rtol=1e-7, atol=1e-8
        )
        # A fourth order stencil: its truncation error ~ step^4, its rounding error ~ 1e-15 /
        # step^2.
        step = 5e-3
        second = (
            -cumulant(2 * step)
            + 16 * cumulant(step)
            - 30 * cumulant(0.0)
            + 16 * cumulant(-step)
            - cumulant(-2 * step)
        ) / (12 * step**2)
        np.testing.assert_allclose(second, variance[at], rtol=1e-6, atol=1e-8)


@every_unit
def test_mean_and_variance_are_those_of_the_density(kind, shape):
    """Catches a mistake that cumulant and mean share."""
    own, field, unit = _own(kind, shape), _field(shape), TYPES[kind](*shape)
    first, second = _raw_moments(kind, own, field, (1, 2))
    np.testing.assert_allclose(unit.mean(own, field), first, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(unit.variance(own, field), second - first**2, rtol=1e-8, atol=1e-11)


@every_unit
def test_a_field_of_zero_may_be_the_number_zero(kind, shape):
    own, unit = _own(kind, shape), TYPES[kind](*shape)
    zero = np.zeros((1, *shape))
    np.testing.assert_allclose(
        np.ravel(unit.cumulant(own, 0)), np.ravel(unit.cumulant(own, zero)), rtol=1e-14
    )
    np.testing.assert_allclose(
        np.ravel(unit.mean(own, 0)), np.ravel(unit.mean(own, zero)), rtol=1e-14
    )


@every_unit
def test_statistics_are_minus_the_derivative_of_the_base_energy(kind, shape):
    """Catches a log-precision statistic without its chain rule factor gamma."""
    own, unit = _own(kind, shape), TYPES[kind](*shape)
    uniform = np.random.default_rng(5).random((N_ROWS, *_uniform_shape(kind, shape)))
    x = unit.sample(own, _field(shape), uniform)
    found = unit.statistics(own, x)
    assert set(found) == set(own)
    step = 1e-5
    for key in own:
        for position in np.ndindex(*shape):
            at = (slice(None), *position)
            up, down = ({k: v.copy() for k, v in own.items()} for _ in range(2))
            up[key][position] += step
            down[key][position] -= step
            slope = (oracles.base_energy(kind, down, x) - oracles.base_energy(kind, up, x))[at] / (
                2 * step
            )
            np.testing.assert_allclose(found[key][at], slope, rtol=1e-7, atol=1e-9)


@every_unit
def test_mean_statistics_are_the_derivative_of_the_cumulant_in_the_own_parameters(kind, shape):
    """Catches E[x]^2 in the place of E[x^2], the classic mistake in learning precisions."""
    own, field, unit = _own(kind, shape), _field(shape), TYPES[kind](*shape)
    found = unit.mean_statistics(own, field)
    assert set(found) == set(own)
    step = 1e-5
    for key in own:
        assert found[key].shape == field.shape
        for position in np.ndindex(*shape):
            up, down = ({k: v.copy() for k, v in own.items()} for _ in range(2))
            up[key][position] += step
            down[key][position] -= step
            slope = (unit.cumulant(up, field) - unit.cumulant(down, field)) / (2 * step)
            np.testing.assert_allclose(
                found[key][(slice(None), *position)], slope, rtol=1e-6, atol=1e-8
            )


@every_unit
def test_mode_is_the_most_likely_state(kind, shape):
    """Catches a mode thresholded on the field alone, without the bias."""
    own, field, unit = _own(kind, shape), _field(shape), TYPES[kind](*shape)
    mode, linear = unit.mode(own, field), own["bias"] + field
    if kind == "categorical":
        expected = np.eye(shape[-1])[linear.argmax(axis=-1)]
    elif kind == "unit-interval":
        expected = (linear > 0).astype(float)
    elif kind in oracles.CONTINUOUS:
        expected = linear / np.exp(own["log_precision"])
        expected = np.maximum(expected, 0.0) if kind == "relu" else expected
    else:
        states = oracles.unit_states(kind, shape)
        expected = states[(linear > 0).astype(int)]
    np.testing.assert_allclose(mode, expected, rtol=1e-12, atol=1e-14)


@every_unit
def test_states_list_every_state_of_one_unit_once(kind, shape):
    states = TYPES[kind](*shape).states()
    if kind in oracles.CONTINUOUS:
        assert states is None
        return
    expected = oracles.unit_states(kind, shape)
    assert states.shape == expected.shape
    assert sorted(map(tuple, np.atleast_2d(states.T).T)) == sorted(
        map(tuple, np.atleast_2d(expected.T).T)
    )


@every_unit
def test_sample_moments_lie_within_their_standard_errors(kind, shape):
    """Catches a sampler that forgets gamma, or draws all units of a row from one uniform.

    The standard errors are those of the exact distribution: var(x)/n and var(x^2)/n. With 8 entries
    and two moments about 150 normal deviates are looked at; |z| > 4.5 has probability 7e-6 each,
    and the seed is fixed.
    """
    n = 40_000
    own, unit = _own(kind, shape), TYPES[kind](*shape)
    field = np.broadcast_to(_field(shape)[:1], (n, *shape))
    uniform = np.random.default_rng(11).random((n, *_uniform_shape(kind, shape)))
    x = unit.sample(own, field, uniform)
    assert x.shape == (n, *shape)
    m1, m2, m4 = (m[0] for m in _raw_moments(kind, own, field[:1], (1, 2, 4)))
    z = [(x.mean(axis=0) - m1) / np.sqrt((m2 - m1**2) / n)]
    if kind != "spin":
        z.append(((x**2).mean(axis=0) - m2) / np.sqrt((m4 - m2**2) / n))
    else:
        assert np.array_equal(np.unique(x), [-1.0, 1.0])
    flat, centre = x.reshape(n, -1), m1.ravel()
    sd = np.sqrt(m2 - m1**2).ravel()
    a, b = (0, shape[-1]) if kind == "categorical" and len(shape) > 1 else (0, 1)
    if (
        kind != "categorical" or len(shape) > 1
    ):  # entries of two different units: their covariance is 0
        z.append(
            ((flat[:, a] - centre[a]) * (flat[:, b] - centre[b])).mean()
            / (sd[a] * sd[b] / np.sqrt(n))
        )
    assert max(np.abs(v).max() for v in z) < 4.5


def _quantile(kind, own, field, u):
    """Return the exact quantiles F^-1(u) of one unit at one field, (len(u),) or (len(u), q)."""
    if kind == "categorical":
        p = special.softmax(own["bias"] + field)
        return np.eye(len(p))[(u[:, None] > np.cumsum(p)[None, :-1]).sum(axis=1)]
    if kind == "unit-interval":
        return oracles.quantile_continuous(kind, own["bias"] + field, 1.0, u)
    if kind in oracles.CONTINUOUS:
        gamma = np.exp(own["log_precision"])
        return oracles.quantile_continuous(kind, (own["bias"] + field) / gamma, gamma**-0.5, u)
    linear = own["bias"] + field
    p_low = special.expit(-linear * (2.0 if kind == "spin" else 1.0))
    low = 0.0 if kind == "bernoulli" else -1.0
    return np.where(u > p_low, 1.0, low)


@pytest.mark.parametrize("kind", list(TYPES))
@pytest.mark.parametrize("field", [-3.0, -0.4, 0.0, 1.1, 6.0])
def test_sample_is_the_inverse_of_the_distribution_function(kind, field):
    """Exact on a grid of uniforms: a draw of one uniform is F^-1(u), or F^-1(1 - u) for types that
    run downwards.

    Catches a spin drawn at half its field, or a Categorical whose cumulative sum starts one state
    late: both keep plausible moments at some fields.
    """
    q = 4
    shape = (q,) if kind == "categorical" else (1,)
    own = {key: value for key, value in _own(kind, shape, seed=7).items()}
    u = (np.arange(1000) + 0.5) / 1000
    fields = field * np.linspace(1.0, -1.0, q) if kind == "categorical" else np.array([field])
    drawn = TYPES[kind](*shape).sample(
        own, np.broadcast_to(fields, (len(u), *shape)), u if kind == "categorical" else u[:, None]
    )
    scalar = {key: value if kind == "categorical" else value[0] for key, value in own.items()}
    rising = _quantile(kind, scalar, fields if kind == "categorical" else field, u)
    falling = _quantile(kind, scalar, fields if kind == "categorical" else field, 1.0 - u)
    if kind != "categorical":
        drawn = drawn[:, 0]
    assert drawn.shape == rising.shape
    same = [np.allclose(drawn, expected, rtol=1e-9, atol=1e-12) for expected in (rising, falling)]
    assert any(same)


# ----------------------------------------------------------------------------------- extreme fields

EXTREME = [1e4, -1e4, 50.0, -50.0]


@pytest.mark.parametrize("field", EXTREME)
def test_extreme_fields_keep_bernoulli_units_finite_and_exact(field):
    """Catches exp(field) that overflows, and 1 - sigma in the place of sigma of the opposite
    sign."""
    unit, own, f = TYPES["bernoulli"](1), {"bias": np.zeros(1)}, np.array([[field]])
    tail = np.exp(-abs(field))
    assert unit.cumulant(own, f)[0] == pytest.approx(max(field, 0.0) + tail, rel=1e-14)
    assert unit.mean(own, f)[0, 0] == pytest.approx(1.0 if field > 0 else tail, rel=1e-14)
    assert unit.variance(own, f)[0, 0] == pytest.approx(tail, rel=1e-12)
    assert unit.sample(own, f, np.array([[0.5]]))[0, 0] == float(field > 0)


@pytest.mark.parametrize("field", EXTREME)
def test_extreme_fields_keep_spins_finite_and_exact(field):
    """Catches log(2 cosh x) by way of cosh."""
    unit, own, f = TYPES["spin"](1), {"bias": np.zeros(1)}, np.array([[field]])
    assert unit.cumulant(own, f)[0] == pytest.approx(abs(field), rel=1e-14)
    assert unit.mean(own, f)[0, 0] == np.sign(field)
    variance = unit.variance(own, f)[0, 0]  # 4 exp(-2|f|), beyond what 1 - tanh^2 can resolve
    assert 0.0 <= variance <= 1e-15
    assert unit.sample(own, f, np.array([[0.5]]))[0, 0] == np.sign(field)


@pytest.mark.parametrize("field", EXTREME)
def test_extreme_fields_keep_categorical_units_finite_and_exact(field):
    """Catches a softmax without its shift."""
    unit, own, f = TYPES["categorical"](3), {"bias": np.zeros(3)}, np.array([[field, 0.0, -1.0]])
    rest = np.exp(0.0) + np.exp(-1.0)
    expected = (
        field + np.log1p(rest * np.exp(-field)) if field > 0 else np.log(rest + np.exp(field))
    )
    assert unit.cumulant(own, f)[0] == pytest.approx(expected, rel=1e-14)
    p = unit.mean(own, f)
    assert p.sum() == pytest.approx(1.0, rel=1e-14)
    assert p[0, 0] == pytest.approx(1.0 if field > 0 else np.exp(field) / rest, rel=1e-12)
    assert (unit.variance(own, f) >= 0).all()
    assert np.array_equal(
        unit.sample(own, f, np.array([0.5]))[0], [1, 0, 0] if field > 0 else [0, 1, 0]
    )


def _relu_tail(field, gamma, x):
    """Return P(X > x) = exp(field x - gamma x^2 / 2) erfcx(b + c x) / erfcx(b), without loss."""
    if field > 0:  # erfcx overflows there, and the Gaussian's tail is accurate
        return special.ndtr((field / gamma - x) * np.sqrt(gamma))
    b, c = -field / np.sqrt(2 * gamma), np.sqrt(gamma / 2)
    return np.exp(field * x - 0.5 * gamma * x**2) * special.erfcx(b + c * x) / special.erfcx(b)


@pytest.mark.parametrize("field", EXTREME)
@pytest.mark.parametrize("log_precision", [0.0, 1.3])
def test_extreme_fields_keep_relu_units_finite_and_exact(field, log_precision):
    """Catches a Mills ratio as a quotient of two underflowed numbers, and a variance lost to
    cancellation.

    Below, the unit is nearly exponential with rate |f|: with t = |f| x the moments are
    Gauss-Laguerre sums over exp(-gamma t^2 / 2 f^2). Above, the cut at zero is far away and the
    unit is a Gaussian.
    """
    unit, gamma = TYPES["relu"](1), np.exp(log_precision)
    own, f = {"bias": np.zeros(1), "log_precision": np.full(1, log_precision)}, np.array([[field]])
    if field < 0:
        t, w = np.polynomial.laguerre.laggauss(60)
        w = w * np.exp(-0.5 * gamma * t**2 / field**2)
        moments = np.array([w @ t**k for k in range(3)])
        cumulant = np.log(moments[0]) - np.log(-field)
        mean = moments[1] / moments[0] / -field
        variance = (moments[2] / moments[0] - (moments[1] / moments[0]) ** 2) / field**2
    else:
        cumulant = 0.5 * field**2 / gamma + 0.5 * np.log(2 * np.pi / gamma)
        mean, variance = field / gamma, 1.0 / gamma
    assert unit.cumulant(own, f)[0] == pytest.approx(cumulant, rel=1e-10)
    assert unit.mean(own, f)[0, 0] == pytest.approx(mean, rel=1e-8)
    assert unit.variance(own, f)[0, 0] == pytest.approx(variance, rel=1e-5)
    u = np.array([1e-6, 0.3, 0.5, 0.9, 1 - 1e-6])
    drawn = unit.sample(own, np.full((len(u), 1), field), u[:, None])[:, 0]
    tail = _relu_tail(field, gamma, drawn)
    # In the uniform's own measure; 10^10 draws would be needed to see 1e-5.
    assert any(np.abs(tail - t).max() < 1e-5 for t in (u, 1.0 - u))
    assert (drawn >= 0).all()


@pytest.mark.parametrize("field", [*EXTREME, 1e-9, -1e-4, 0.49999, -0.50001, 0.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
def test_extreme_fields_keep_the_unit_interval_finite_and_exact(field, dtype):
    """Gauss-Legendre sums near zero, the exponential's moments far from it.

    Catches exp(field) that overflows, 0 / 0 at zero, and the differences 1/(1 - exp(-a)) - 1/a
    and 1/a^2 - 1/sinh^2 that cancel near it.
    """
    unit, own = TYPES["unit-interval"](1), {"bias": np.zeros(1, dtype)}
    f = np.array([[field]], dtype)
    a = float(f[0, 0])
    if abs(a) < 1:
        x, w = np.polynomial.legendre.leggauss(20)
        x, w = (x + 1) / 2, w / 2
        moments = [(w * x**k) @ np.exp(a * x) for k in range(3)]
        log_z, mean = np.log(moments[0]), moments[1] / moments[0]
        variance = moments[2] / moments[0] - mean**2
    else:
        tail = np.exp(-abs(a))
        log_z = max(a, 0.0) - np.log(abs(a)) + np.log1p(-tail)
        from_end = 1 / abs(a) - tail / (1 - tail)
        mean = 1 - from_end if a > 0 else from_end
        variance = 1 / a**2 - tail / (1 - tail) ** 2
    eps = float(np.finfo(dtype).eps)
    # A cumulant passes through zero with slope 1/2: its error is that of terms of size one.
    assert unit.cumulant(own, f)[0] == pytest.approx(log_z, rel=8 * eps, abs=8 * eps)
    assert unit.mean(own, f)[0, 0] == pytest.approx(mean, rel=16 * eps)
    # Above the series' reach two numbers near 1/a^2 = 4 leave 1/12.
    assert unit.variance(own, f)[0, 0] == pytest.approx(variance, rel=200 * eps)
    u = np.array([0.0, 1e-6, 0.3, 0.5, 0.9, 1 - 1e-6, 1.0], dtype)
    drawn = unit.sample(own, np.full((len(u), 1), field, dtype), u[:, None])[:, 0]
    assert drawn.dtype == dtype and (drawn >= 0).all() and (drawn <= 1).all()
    assert (np.diff(drawn) >= 0).all()


@pytest.mark.parametrize("mean", [1e-4, 0.2, 0.5, 0.500001, 0.93, 1 - 1e-5])
def test_the_bias_of_a_mean_in_the_unit_interval(mean):
    """Catches a bisection that starts inside of the answer."""
    unit = TYPES["unit-interval"](2)
    own = unit.from_moments(np.array([mean, 1 - mean]), np.array([0.3, 0.3]))
    np.testing.assert_allclose(unit.mean(own, 0)[0], [mean, 1 - mean], rtol=1e-9)


@pytest.mark.parametrize("field", EXTREME)
def test_extreme_fields_keep_gaussian_units_finite_and_exact(field):
    unit, gamma = TYPES["gaussian"](1), 2.0
    own, f = {"bias": np.zeros(1), "log_precision": np.full(1, np.log(gamma))}, np.array([[field]])
    assert unit.cumulant(own, f)[0] == pytest.approx(
        0.25 * field**2 + 0.5 * np.log(np.pi), rel=1e-14
    )
    assert unit.mean(own, f)[0, 0] == pytest.approx(field / gamma, rel=1e-14)
    assert unit.variance(own, f)[0, 0] == pytest.approx(1 / gamma, rel=1e-14)


@every_unit
def test_the_smallest_and_the_largest_uniform_give_finite_draws_inside_the_support(kind, shape):
    """Catches an inverse distribution function that is asked for its infinite end."""
    own, field, unit = _own(kind, shape), _field(shape), TYPES[kind](*shape)
    for u in (2.0**-54, 1.0 - 2.0**-53):
        x = unit.sample(own, field, np.full((N_ROWS, *_uniform_shape(kind, shape)), u))
        assert np.isfinite(x).all()
        if kind == "categorical":
            assert np.array_equal(x.sum(axis=-1), np.ones(x.shape[:-1]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_switches_are_drawn_by_the_compiled_layer_as_the_plain_formula_draws_them(dtype):
    """Units of two states: means of the softmax, and the draw of the same uniforms.

    Deliberate bug that this catches: the two states exchanged, or the scale on the bias too.
    """
    unit, address = TYPES["categorical"](9, 2), rng.Address(seed=3, stream=5, step=7, row=11)
    own = {"bias": _own("categorical", (9, 2))["bias"].astype(dtype)}
    field = 3 * np.random.default_rng(0).standard_normal((200, 9, 2)).astype(dtype)
    means, drawn = unit.draw(own, field, address, scale=0.5, mean=True)
    p = special.softmax(own["bias"] + np.asarray(0.5, dtype) * field, axis=-1)
    np.testing.assert_allclose(means, p, rtol=16 * np.finfo(dtype).eps)
    u = rng.uniform(address, (200, 9), dtype)
    # A uniform within the rounding of p may fall on either side.
    clear = np.abs(u - p[..., 0]) > 8 * np.finfo(dtype).eps
    assert clear.mean() > 0.999
    np.testing.assert_array_equal(drawn[clear], np.eye(2)[(u >= p[..., 0]).astype(int)][clear])
    assert drawn.dtype == means.dtype == dtype
