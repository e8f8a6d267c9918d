import torch

from sender.semantics.lifting_network import SEEN, LiftingConfig, LiftingNetwork, attention_mask, lags_of

_LAGS = lags_of(torch.arange(6).expand(2, -1) / 30)


def _network() -> LiftingNetwork:
    torch.manual_seed(0)
    return LiftingNetwork(LiftingConfig(width=24, layers=2, heads=2, latent=4, hidden=16)).eval()


def _tokens(network: LiftingNetwork) -> torch.Tensor:
    tokens = torch.randn(2, 6, network.config.tokens, generator=torch.Generator().manual_seed(1))
    tokens[..., SEEN] = 1
    return tokens


@torch.no_grad()
def test_a_causal_frame_sees_none_after_it() -> None:
    network = _network()
    for parameter in network.decoder.leave.parameters():
        torch.nn.init.normal_(parameter)
    tokens, present = _tokens(network), torch.ones(2, 6, dtype=torch.bool)
    later = tokens.clone()
    later[:, 4:, SEEN + 1 :] += 1
    for causal in (True, False):
        mask = attention_mask(present, causal=causal)
        before, after = network(tokens, _LAGS, mask), network(later, _LAGS, mask)
        equal = [torch.equal(one[:, :4], other[:, :4]) for one, other in zip(before, after, strict=True)]
        assert all(equal) if causal else not any(equal)


@torch.no_grad()
def test_frames_that_are_not_there_change_nothing() -> None:
    """A window that is filled up gives what the shorter one gives, and is finite."""
    network = _network()
    tokens, present = _tokens(network), torch.ones(2, 6, dtype=torch.bool)
    present[:, :4] = False
    whole = network(tokens, _LAGS, attention_mask(present))
    short = network(tokens[:, 4:], _LAGS[:, 4:, 4:], attention_mask(present[:, 4:]))
    for one, other in zip(whole, short, strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one[:, 4:], other)
    assert (whole.sigma > 0).all()
