"""Neighbours on a triangle mesh."""

import numpy as np
import trimesh

from common.body.triangles import neighbour_mean, vertex_adjacency


def test_the_mean_over_the_neighbours_of_a_vertex() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=1)
    mean = neighbour_mean(vertex_adjacency(mesh.faces, len(mesh.vertices))) @ mesh.vertices
    expected = [mesh.vertices[neighbours].mean(axis=0) for neighbours in mesh.vertex_neighbors]
    np.testing.assert_allclose(mean, expected, atol=1e-6)
