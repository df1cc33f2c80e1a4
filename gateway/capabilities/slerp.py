"""Rotation between two directions on the sphere, as section 3.3 of the paper rotates a CLIP embedding.

Everything is float64: a frame at theta 0 must be the picture's own embedding, and near-parallel directions lose
half their digits in the textbook formula ``sin((1-t)w)/sin(w)``, which this one avoids by rotating in the plane of
the two directions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

# Below this sine two unit vectors are parallel or opposite as far as float64 can tell.
PARALLEL = 1e-12


def normalise(vector: npt.ArrayLike) -> Float64Array:
    """``[D]`` scaled to length 1; the zero vector, which has no direction, stays zero."""
    values = np.asarray(vector, dtype=np.float64)
    largest = float(np.max(np.abs(values), initial=0.0))
    if largest == 0.0:
        return values
    scaled = values / largest  # keeps the squares of very small and very large values representable
    return scaled / np.linalg.norm(scaled)


def slerp(start: npt.ArrayLike, end: npt.ArrayLike, t: float) -> Float64Array:
    """Rotates ``start`` towards the direction of ``end`` by the share ``t`` of the angle between them.

    start, end: ``[D]``, D at least 2. t: 0 to 1. The result is ``[D]`` with the length of ``start``, whatever the
    length of ``end``: the decoder was trained on image embeddings, and a text difference has no length to speak of.

    The cases without a unique answer are defined:
      - either vector is zero: there is nothing to rotate, or nowhere to go; ``start`` comes back.
      - parallel: ``start`` comes back.
      - opposite: every plane through them is as good; the one through the axis on which ``start`` is smallest
        (the first of equals) is taken, so that equal inputs always give equal results.
    """
    origin = np.asarray(start, dtype=np.float64)
    a, b = normalise(origin), normalise(end)
    if t == 0.0 or not a.any() or not b.any():
        return origin.copy()
    cosine = float(a @ b)
    across = b - cosine * a
    sine = float(np.linalg.norm(across))
    if sine < PARALLEL:
        if cosine > 0:
            return origin.copy()
        across = perpendicular(a)
    else:
        # Once more against a: when b is nearly parallel, the first subtraction leaves mostly rounding.
        across = normalise(across - (across @ a) * a)
    angle = t * float(np.arctan2(sine, cosine))
    turned: Float64Array = np.linalg.norm(origin) * (np.cos(angle) * a + np.sin(angle) * across)
    return turned


def perpendicular(unit: Float64Array) -> Float64Array:
    """A unit vector at right angles to ``unit`` (``[D]``, length 1): always the same one for equal inputs."""
    axis = np.zeros_like(unit)
    axis[int(np.argmin(np.abs(unit)))] = 1.0
    return normalise(axis - (axis @ unit) * unit)
