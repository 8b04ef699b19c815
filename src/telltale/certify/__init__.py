"""What no small perturbation can do: certificates for encoders and detectors, by Gaussian noise.

    for row in certify("vit_small", pictures, sigma=0.25):     # or a run, a CLIP, an nn.Module
        row.radius                                             # the cosine stays at 0.5 up to here

Of an encoder the cosine of its smoothed feature with the clean one is certified. Of a detector it
is the verdict that most noisy copies get: a feature of length 1 that is +1 or -1, so that the same
bound holds. All sizes are l2, in [0, 1] of a value, of what the network is shown.

Source: Xia et al., arXiv:2601.16200; for verdicts the same as in Cohen et al., arXiv:1902.02918.
"""

from telltale.certify.curves import Curve, curve, to_csv, to_markdown, to_svg, write
from telltale.certify.run import (
    SIZES,
    Certified,
    Noise,
    certifier,
    certify,
    certify_split,
    usual_sizes,
)

__all__ = [
    "SIZES",
    "Certified",
    "Curve",
    "Noise",
    "certifier",
    "certify",
    "certify_split",
    "curve",
    "to_csv",
    "to_markdown",
    "to_svg",
    "usual_sizes",
    "write",
]
