"""Memory of dropped arrays is taken again, and nobody can tell by the numbers."""

import threading

import numpy as np
import pytest

from fastboltz import RBM
from fastboltz.threads import computing
from fastboltz_ext import memory

LARGE = 1 << 18


def handler(array):
    return np._core.multiarray.get_handler_name(array)


def test_a_dropped_array_is_taken_again():
    with memory.Recycled():
        a = np.ones(LARGE, np.float32)
        where = a.ctypes.data
        assert memory.waiting() == 0
        del a
        assert memory.waiting() >= 4 * LARGE
        b = np.empty(LARGE, np.float32)
        assert b.ctypes.data == where
        assert memory.waiting() == 0
    assert where % 64 == 0


@pytest.mark.parametrize("size", [1, 100, 2047, 2048, 2049, 4096, 5000, 5121, 10**5, 10**6])
def test_zeros_are_zero(size):
    with memory.Recycled():
        for _ in range(3):
            a = np.zeros(size)
            assert not a.any()
            a.fill(1)
            del a


def test_arrays_do_not_overlap():
    rng = np.random.default_rng(0)
    with memory.Recycled():
        held = {}
        for k in range(2000):
            size = int(rng.choice([10, 3000, 5000, 17000, 40000]) * rng.uniform(0.5, 1))
            held[k % 17] = (k, np.full(size, k, np.int64))
            for number, a in held.values():
                assert (a[[0, -1]] == number).all()


def test_nothing_waits_after_the_last_has_left():
    with memory.Recycled():
        with computing():
            np.ones(LARGE)
        assert memory.waiting() > 0
    assert memory.waiting() == 0


def test_an_array_outlives_the_context():
    with memory.Recycled():
        a = np.arange(LARGE)
    assert handler(np.ones(LARGE)) != "fastboltz"
    np.testing.assert_array_equal(a, np.arange(LARGE))
    assert handler(a) == "fastboltz"
    a.resize(10, refcheck=False)
    np.testing.assert_array_equal(a, np.arange(10))
    a.resize(LARGE, refcheck=False)
    np.testing.assert_array_equal(a[:12], [*range(10), 0, 0])
    del a
    assert memory.waiting() == 0


def test_growing_and_shrinking_within_the_context():
    with memory.Recycled():
        a = np.arange(10)
        for size in (3000, 5000, LARGE, 4 * LARGE, LARGE, 7):
            a.resize(size, refcheck=False)
            np.testing.assert_array_equal(a[:7], range(7))


def test_what_waits_is_limited():
    with memory.Recycled():
        arrays = [np.ones(1 << 20) for _ in range(20)]
        del arrays
        assert memory.waiting() <= 64 << 20


def test_an_error_puts_numpy_s_own_memory_back():
    before = handler(np.ones(3))
    with pytest.raises(ZeroDivisionError), memory.Recycled():
        assert handler(np.ones(3)) == "fastboltz"
        raise ZeroDivisionError
    assert handler(np.ones(3)) == before
    assert memory.waiting() == 0


def test_other_threads_have_numpy_s_own_memory():
    found = []

    def other():
        found.append(handler(np.ones(LARGE)))

    with memory.Recycled():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [handler(np.ones(LARGE))]


def test_an_array_may_be_dropped_by_another_thread():
    with memory.Recycled():
        box = [np.ones(LARGE)]
        thread = threading.Thread(target=box.clear)
        thread.start()
        thread.join()
        assert memory.waiting() > 0


def test_threads_train_side_by_side():
    x = (np.random.default_rng(0).random((200, 300)) < 0.5).astype(np.float64)

    def fitted():
        return RBM(70, n_iter=3, method="pcd", random_state=0, n_threads=1).fit(x).params_

    alone, found = fitted(), [None] * 4

    def work(k):
        found[k] = fitted()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for params in found:
        for key, value in alone.items():
            np.testing.assert_array_equal(params[key], value)
    assert memory.waiting() == 0
