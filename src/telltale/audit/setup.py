"""An encoder of one's own and the attack on it, out of a CLIP's folder or a recipe."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from telltale import catalog
from telltale.recipe import in_force, read_recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from telltale.nn.vlm_tower import VlmTower
    from telltale.robustness.prompt_injection import Features, PromptInjection

STEPS = 100  # unless a recipe or a setting says otherwise: a third of the paper's
DECOYS = (  # as harmless and as long as the canary
    "SILVER OTTER 17",
    "GREEN TEAPOT 80",
    "QUIET HARBOUR 33",
    "WOODEN COMET 64",
    "YELLOW FERRY 29",
    "MARBLE SPARROW 51",
    "COPPER MEADOW 96",
    "VELVET COMPASS 78",
)


class Ready(NamedTuple):
    """An attack on an encoder of one's own."""

    attack: "PromptInjection"
    texts: "Sequence[Features] | None"  # the instruction's sentence
    names: "Tensor"  # (K, C), features of it and of decoys
    size: int  # S of the encoder's pictures
    vlm: "VlmTower | None" = None


def made(clip: str, vlm: str, recipe: Path | str | None, given: Mapping[str, Any]) -> Ready:
    """The attack, and what is measured by.

    Args:
        clip: A folder, or empty.
        vlm: A folder, or empty; without both, the recipe's encoder.
        recipe: Of ``prompt_injection``.
        given: Settings over it.

    Raises:
        ValueError: If anything of them is not right.
    """
    import torch

    from telltale.nn.clip_tower import load_tower, sentence
    from telltale.robustness.prompt_injection import Features, PromptInjection

    tables: dict[str, dict[str, Any]] = {
        "method": {"steps": STEPS},
        "surrogate": {"name": "vit_toy"},
        "data": {"manifest": "pictures", "license": "the owner's"},
    }
    if recipe is not None:
        tables |= read_recipe(recipe, "prompt_injection")
    plan = in_force("prompt_injection", tables, given)
    names = [str(plan.method["target"]), *DECOYS]
    if vlm:
        from telltale.nn.vlm_tower import load_vlm

        tower = load_vlm(Path(vlm))
        attack = PromptInjection(tower, **plan.method)
        return Ready(attack.eval(), None, drawn(tower, names, tower.size), tower.size, tower)
    if not clip:
        torch.manual_seed(0)  # of a trunk without weights
        built = catalog.build(
            "prompt_injection", surrogate=plan.modules["surrogate"], **plan.method
        )
        if not isinstance(built, PromptInjection):
            raise ValueError(f"want a PromptInjection, got {type(built).__name__}")
        trunk = built.surrogates[0]
        size = plan.data.size or int(getattr(getattr(trunk, "shape", None), "size", 224))
        return Ready(built.eval(), None, drawn(trunk, names, size), size)
    encoder, both = load_tower(Path(clip))
    attack = PromptInjection(encoder, **plan.method)
    if both is None:
        return Ready(attack.eval(), None, drawn(encoder, names, encoder.size), encoder.size)
    texts = [Features(*sentence(both, names[0]))]
    return Ready(attack.eval(), texts, both.sentences(names), encoder.size)


def drawn(encoder: "nn.Module", names: Sequence[str], size: int) -> "Tensor":
    """Features of words as pictures of them, (K, C)."""
    import torch

    from telltale.nn.lettering import rendered
    from telltale.robustness.prompt_injection import features

    with torch.no_grad():
        return torch.cat([features(encoder, rendered(name, size)).whole for name in names])
