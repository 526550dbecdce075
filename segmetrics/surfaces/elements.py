"""Length or area of the surface in a neighbourhood of 2×2(×2) pixels.

The surface of a mask runs between pixel centres. In each neighbourhood it is the polygon of
marching squares or cubes: its corners lie halfway between neighbouring pixels of which exactly one
is in the mask. Nikolov et al. (2018, "Deep learning to achieve clinically applicable segmentation
of head and neck anatomy for radiotherapy") look up its size by the neighbourhood's code. Here that
table is computed from the geometry.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, ...]
Edge = tuple[Corner, Corner]
Float64Array = NDArray[np.float64]


def sizes(spacing: tuple[float, ...]) -> Float64Array:
    """Contour lengths ``(16,)`` or surface areas ``(256,)`` by neighbourhood code.

    Bit ``i`` of a code says whether corner ``i``, in row-major order, belongs to the mask.
    """
    scale = np.array(spacing)
    if len(spacing) == 3:
        scale = np.prod(scale) / scale  # a face normal to one axis extends along the others
    table: Float64Array = np.linalg.norm(_pieces(len(spacing)) * scale, axis=2).sum(1)
    return table


@cache
def _pieces(dims: int) -> Float64Array:
    """The pieces of every code ``(codes, pieces, dims)``, padded with zeros.

    A piece is a segment's vector, or a triangle's normal whose length is its area.
    """
    pieces_of = _segment_vectors if dims == 2 else _triangle_normals
    pieces = [pieces_of(_inside(code, dims)) for code in range(2**2**dims)]
    table = np.zeros((len(pieces), max(map(len, pieces)), dims))
    for row, found in zip(table, pieces, strict=True):
        row[: len(found)] = np.reshape(found, (-1, dims))
    return table


def _segment_vectors(inside: set[Corner]) -> list[Float64Array]:
    segments = _segments(inside, [(0, 0), (0, 1), (1, 1), (1, 0)])
    return [_middle(a) - _middle(b) for a, b in segments]


def _triangle_normals(inside: set[Corner]) -> list[Float64Array]:
    """The normals of the triangles in a cube.

    A polygon of more than four corners is not planar, so its area depends on the triangulation. It
    is the fan with the largest area on the unit cube, as in the reference's table.
    """
    normals: list[Float64Array] = []
    for polygon in _polygons(inside):
        corners = np.array([_middle(edge) for edge in polygon])
        fans = [_fan(np.roll(corners, shift, axis=0)) for shift in range(len(corners))]
        areas = [np.linalg.norm(fan, axis=1).sum() for fan in fans]
        normals.extend(fans[int(np.argmax(areas))])
    return normals


def _fan(corners: Float64Array) -> Float64Array:
    """Normals of the triangles that share the first corner; their lengths are the areas."""
    sides = corners[1:] - corners[0]
    return np.cross(sides[:-1], sides[1:]) / 2


def _polygons(inside: set[Corner]) -> list[list[Edge]]:
    """The closed polygons that separate inside from outside corners of a cube."""
    neighbours: dict[Edge, list[Edge]] = {}
    for axis, side in product(range(3), (0, 1)):
        first, second = (a for a in range(3) if a != axis)
        square: list[Corner] = []
        for u, v in ((0, 0), (0, 1), (1, 1), (1, 0)):
            corner = [side] * 3
            corner[first], corner[second] = u, v
            square.append(tuple(corner))
        for a, b in _segments(inside, square):
            neighbours.setdefault(a, []).append(b)
            neighbours.setdefault(b, []).append(a)
    polygons = []
    while neighbours:
        edge: Edge | None = next(iter(neighbours))
        polygon = []
        while edge is not None:
            polygon.append(edge)
            edge = next((e for e in neighbours.pop(edge) if e in neighbours), None)
        polygons.append(polygon)
    return polygons


def _segments(inside: set[Corner], square: list[Corner]) -> list[tuple[Edge, Edge]]:
    """The segments that separate the corners of a square, which are in cyclic order.

    If opposite corners are alike, each corner of the rarer kind of the whole neighbourhood is cut
    off by a segment of its own.
    """
    rare = len(inside) <= 2 ** (len(square[0]) - 1)
    kinds = [(corner in inside) == rare for corner in square]
    edges = [_edge(square[i - 1], square[i]) for i in range(4)]  # edge i leads to corner i
    crossed = [edge for i, edge in enumerate(edges) if kinds[i - 1] != kinds[i]]
    if len(crossed) == 4:
        return [(edges[i], edges[(i + 1) % 4]) for i in range(4) if kinds[i]]
    return [(crossed[0], crossed[1])] if crossed else []


def _inside(code: int, dims: int) -> set[Corner]:
    corners = product((0, 1), repeat=dims)
    return {corner for bit, corner in enumerate(corners) if code >> bit & 1}


def _edge(a: Corner, b: Corner) -> Edge:
    return min(a, b), max(a, b)


def _middle(edge: Edge) -> Float64Array:
    a, b = edge
    return np.array([(i + j) / 2 for i, j in zip(a, b, strict=True)])
