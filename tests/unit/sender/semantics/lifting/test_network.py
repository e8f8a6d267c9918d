import torch

from sender.semantics.lifting.network import LiftingConfig, LiftingNetwork, attention_mask, lags_of
from sender.semantics.lifting.window import FITTED, MOVED, SEEN

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


@torch.no_grad()
def test_before_any_training_it_says_what_is_smoothed() -> None:
    network = _network()
    tokens = _tokens(network)
    entries = network(tokens, _LAGS, attention_mask(torch.ones(2, 6, dtype=torch.bool))).entries
    torch.testing.assert_close(entries, tokens[..., FITTED] + tokens[..., MOVED])


@torch.no_grad()
def test_a_long_window_and_a_short_one_end_alike() -> None:
    """What is beyond the reach of all layers changes no context."""
    network = _network()
    tokens = torch.randn(1, 24, network.config.tokens, generator=torch.Generator().manual_seed(2))
    ends = []
    for count in (24, 12):
        present, lags = torch.ones(1, count, dtype=torch.bool), lags_of(torch.arange(count)[None] / 30)
        ends.append(network.context(tokens[:, -count:], lags, attention_mask(present, causal=True))[:, -1])
    torch.testing.assert_close(*ends)


def test_default_size_is_below_three_million_parameters() -> None:
    assert sum(each.numel() for each in LiftingNetwork(LiftingConfig()).parameters()) < 3_000_000
