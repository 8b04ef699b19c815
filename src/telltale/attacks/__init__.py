"""Attacks on any differentiable measure of images in [0, 1]; for models that one owns and audits.

A measure maps images (B, 3, H, W) to one number an image, (B,), which the attack makes larger; for
a classifier ``cross_entropy(net, labels)`` or ``dlr(net, labels)``. What varies the input is a
measure of its own, so that attacks combine: ``mi_fgsm(diverse(scaled(measure)), …)``.

    FGSM, PGD   x ← Π(x + α sign ∇), or x ← Π(x + α ∇/‖∇‖₂)         Π: into the bound and [0, 1]
    MI          g ← μ g + ∇/mean|∇|;  x ← Π(x + α sign g)
    NI          the same with ∇ at x + α μ g
    DI          ∇ of the measure of a randomly shrunk and padded copy
    SI          ∇ of the mean measure of x, x/2, x/4, …
    TI          ∇ smoothed by a Gaussian kernel
    VMI         ∇ + v with v = mean ∇ of neighbours - ∇, from the step before
    APGD        PGD with momentum whose steps halve where the measure stops growing
    Square      random squares that are kept where the measure grows: no gradient is asked for

Source: Madry et al. 2018, arXiv:1706.06083 (PGD); Dong et al. 2018, arXiv:1710.06081 (MI); Xie et
al. 2019, arXiv:1803.06978 (DI); Dong et al. 2019, arXiv:1904.02884 (TI); Lin et al. 2020,
arXiv:1908.06281 (NI, SI); Wang and He 2021, arXiv:2103.15571 (VMI); Croce and Hein 2020,
arXiv:2003.01690 (APGD, DLR); Andriushchenko et al. 2020, arXiv:1912.00049 (Square).
Departures: MI divides by the mean of |∇|, as implementations do, not by its sum: signs are the
same, and NI's look ahead reaches as far as it is meant to.
"""

from telltale.attacks.automatic import apgd, square
from telltale.attacks.measures import cross_entropy, diverse, dlr, gaussian_kernel, scaled
from telltale.attacks.steps import Measure, Norm, mi_fgsm, pgd, vmi_fgsm
from telltale.attacks.transfer import TRANSFER, craft, ensemble

__all__ = [
    "TRANSFER",
    "Measure",
    "Norm",
    "apgd",
    "craft",
    "cross_entropy",
    "diverse",
    "dlr",
    "ensemble",
    "gaussian_kernel",
    "mi_fgsm",
    "pgd",
    "scaled",
    "square",
    "vmi_fgsm",
]
