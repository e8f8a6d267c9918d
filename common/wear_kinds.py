"""The kinds of hair and clothes; without NumPy, so that a command line may list them at once."""

from collections.abc import Mapping

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
"""The values of each attribute."""
