"""The kinds of hair and clothes, and which are worn together; without NumPy, so that a command line may list them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

VALUES: Mapping[str, tuple[str, ...]] = {
    # medium: chin to shoulders; hidden: beneath headwear.
    "hair": ("bald", "short", "medium", "long", "tied", "hidden"),
    # cap: visors too; scarf: veils and bandanas too.
    "headwear": ("none", "cap", "helmet", "hat", "beanie", "hood", "scarf"),
    # Of the outermost upper garment: the arms beneath a vest may be covered.
    "sleeve": ("bare", "sleeveless", "short", "long"),
    # jacket: to the hips, opens or is thick; coat: below the hips.
    "layer": ("top", "jacket", "coat", "vest", "dress", "robe", "none"),
    "bottom": ("trousers", "knee", "shorts", "skirt_short", "skirt_long", "brief"),
    "top_fit": ("tight", "regular", "loose"),
    "bottom_fit": ("tight", "regular", "loose"),
    # boots: ski boots and skates too.
    "shoes": ("barefoot", "sandals", "shoes", "boots"),
}
"""The attributes of hair and clothes, and their values."""


@dataclass(frozen=True, slots=True)
class WearRule:
    """Who wears one of these `values` of an attribute wears one of those `others` of another attribute.

    Args:
        instead: what is worn instead of the values, where the others stay; the first unless another is likelier.
        implied: which of the others is worn, where the values stay.
    """

    attribute: str
    values: tuple[str, ...]
    other: str
    others: tuple[str, ...]
    instead: tuple[str, ...]
    implied: str


def _all_but(attribute: str, *values: str) -> tuple[str, ...]:
    return tuple(value for value in VALUES[attribute] if value not in values)


_SKIRTS = ("skirt_short", "skirt_long")
_LEGS = _all_but("bottom", *_SKIRTS)

TOGETHER: tuple[WearRule, ...] = (
    WearRule("hair", ("hidden",), "headwear", _all_but("headwear", "none"), ("short",), "cap"),
    WearRule("layer", ("none",), "sleeve", ("bare",), ("top",), "bare"),
    WearRule("sleeve", ("bare",), "layer", ("none",), ("long", "short", "sleeveless"), "none"),
    WearRule("bottom", _LEGS, "layer", _all_but("layer", "robe"), ("skirt_long",), "top"),
    WearRule("bottom", _LEGS, "layer", _all_but("layer", "dress"), _SKIRTS, "top"),
)
"""What is worn together; of two rules, the earlier one counts first."""


def worn_together(
    kinds: Mapping[str, str], fixed: Collection[str] = (), shares: Mapping[str, Sequence[float]] | None = None
) -> dict[str, str]:
    """The kinds (attribute → its value) that somebody can wear at once.

    Args:
        fixed: attributes that stay as they are, as far as others can follow.
        shares: attribute → the probabilities of `VALUES[attribute]`: of several values, the likeliest is worn instead.
    """
    worn = dict(kinds)
    for rule in TOGETHER:
        if worn.get(rule.attribute) not in rule.values or worn.get(rule.other, rule.implied) in rule.others:
            continue
        if rule.attribute in fixed and rule.other not in fixed:
            worn[rule.other] = rule.implied
        else:
            likely = dict(zip(VALUES[rule.attribute], shares[rule.attribute], strict=True)) if shares else {}
            worn[rule.attribute] = max(rule.instead, key=lambda value: likely.get(value, 0.0))
    return worn
