"""Graphs: rows sum to one, nodes have exactly k edges, and the self edge is kept."""

from __future__ import annotations

import pytest
import torch

from gasmcast.models.graph import MotionGraph, SemanticGraph


@pytest.mark.parametrize("knn", [False, True])
def test_a_row_has_k_edges_and_sums_to_one(knn):
    torch.manual_seed(0)
    graph = SemanticGraph(width=64, heads=4, grid=14, k=16, knn=knn).eval()
    torch.nn.init.normal_(graph.bias)
    with torch.no_grad():
        _, weights = graph(torch.randn(3, 196, 64))
    assert weights.shape == (3, 4, 196, 196)
    assert torch.allclose(weights.sum(-1), torch.ones(3, 4, 196), atol=1e-5)
    edges = weights > 0
    assert (edges.sum(-1) == 16).all()
    assert edges.diagonal(dim1=-2, dim2=-1).all()
    assert (edges == edges[:, :1]).all(), "one graph a frame for all heads"


def test_knn_edges_are_the_nearest_patches():
    torch.manual_seed(0)
    graph = SemanticGraph(width=32, heads=2, grid=4, k=5, knn=True)
    x = torch.randn(1, 16, 32)
    _, weights = graph(x)
    h = graph.norm(x)
    nearest = torch.cdist(h, h)[0].argsort(-1)[:, :5].sort(-1).values
    assert torch.equal((weights[0, 0] > 0).nonzero()[:, 1].view(16, 5), nearest)


@pytest.mark.parametrize("k", [None, 16, 99])
def test_all_edges_is_plain_attention(k):
    graph = SemanticGraph(width=32, heads=2, grid=4, k=k)
    _, weights = graph(torch.randn(2, 16, 32))
    assert (weights > 0).all()


def test_edges_prefer_the_offsets_that_are_learned():
    graph = SemanticGraph(width=32, heads=2, grid=4, k=2)
    with torch.no_grad():
        graph.bias[(0 + 3) * 7 + (1 + 3)] = 100.0  # the right-hand neighbor
    _, weights = graph(torch.randn(1, 16, 32) * 0.01)
    right = [i for i in range(16) if i % 4 < 3]
    assert all(weights[0, :, i, i + 1].min() > 0.99 for i in right)


@pytest.mark.parametrize("gatv2", [False, True])
def test_motion_graph_tells_before_from_after(gatv2):
    torch.manual_seed(0)
    graph = MotionGraph(width=32, heads=4, segments=8, gatv2=gatv2)
    torch.nn.init.normal_(graph.out.weight)
    torch.nn.init.normal_(graph.bias)
    x = torch.randn(2, 8, 9, 32)
    out, weights = graph(x)
    assert out.shape == x.shape
    assert torch.allclose(weights.sum(-1), torch.ones(2, 4, 8), atol=1e-5)
    assert not torch.allclose(graph(x.flip(1))[0], out.flip(1), atol=1e-3)
    with torch.no_grad():
        graph.bias.zero_()
    assert torch.allclose(graph(x.flip(1))[0], graph(x)[0].flip(1), atol=1e-5), (
        "without the bias it is blind to order"
    )
