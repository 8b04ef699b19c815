"""What spiking networks cost, as the field counts it."""

from collections.abc import Mapping

ACCUMULATE, MULTIPLY = 0.9, 4.6  # picojoule at 45 nm, 32 bits; Horowitz, ISSCC 2014


def energy(
    macs: Mapping[str, float], sops: Mapping[str, float], *, analogue: tuple[str, ...] = ()
) -> float:
    """Nanojoule of a sample: accumulates where inputs are spikes, else multiply-accumulates.

    Args:
        macs: Dense multiply-accumulates of each layer.
        sops: Synaptic operations of each layer, see :func:`telltale.nn.snn.work`.
        analogue: Layers whose inputs are no spikes, such as the first on pictures or counts.

    Raises:
        ValueError: If a layer is in one table only, or a count is negative.
    """
    if set(macs) != set(sops) or not set(analogue) <= set(macs):
        raise ValueError(f"want the same layers, got {sorted(macs)} and {sorted(sops)}")
    if min([*macs.values(), *sops.values()], default=0) < 0:
        raise ValueError("want counts of 0 or more")
    picojoule = sum(
        MULTIPLY * macs[name] if name in analogue else ACCUMULATE * sops[name] for name in macs
    )
    return picojoule / 1000
