import torch

from gasmcast.models.head.adapter import TemporalAdapter


def gradient(adapter, x, bf16):
    adapter.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = adapter(x)
    out.float().square().sum().backward()
    return adapter.mix.weight.grad.clone()


def test_the_gradient_under_autocast_is_the_gradient():
    """Depthwise in BF16, it held numbers of 1e8 to 1e23 at random on processors with BF16."""
    torch.manual_seed(0)
    adapter = TemporalAdapter(16, 8, 2)
    torch.nn.init.normal_(adapter.up.weight)
    x = torch.randn(4, 3, 4, 16)
    want = gradient(adapter, x, bf16=False)
    seen = []
    adapter.mix.register_forward_hook(lambda _module, _args, out: seen.append(out.dtype))
    for _ in range(30):
        assert (gradient(adapter, x, bf16=True) - want).norm() < 0.05 * want.norm()
    assert set(seen) == {torch.float32}
