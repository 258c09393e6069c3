"""Compiled kernels of fastboltz; they import nothing from `fastboltz`.

``processor``
    Which instruction sets there are, and which of them is used.
``philox``
    Random numbers as addresses: Philox4x32-10.
``layers``
    Products, draws and free-energy sums of a layer, fused where that saves a pass over memory.
``packed``
    Binary units, a bit each: products by table look-up, layers, trainings of a pair of groups.
``averages``
    Draws and sums of averages of a cost over samples.
``recurrent``
    Steps of recurrent networks, and back through them.
``memory``
    An allocator for NumPy that takes the memory of dropped arrays again.
``updates``
    Fused optimizer steps.
``site_gibbs``
    Gibbs sweeps site by site for groups of units with terms among themselves.

Every function takes C-contiguous NumPy arrays of float32 or float64 (read-only ones too where it
only reads), writes to arrays of the caller, releases the GIL and gives the same bytes for every
``n_threads``.
"""
