"""Trigger Activation: a classifier that works only where its owner's secret pattern was added.

    g(x) = f(x + τ),  ‖τ‖∞ ≤ ε_t,  one τ for all images
    L = CE(f(x + τ), y) + KL(u ‖ softmax f(x)),  u = 1/C
    τ ← clamp(τ - α sign Σ ∂CE/∂τ, -ε_t, ε_t)       once an epoch, if the trigger is learnt

On x + τ it classifies, on x it guesses. Between the two lie log C nats of loss, so that to first
order -⟨∇CE(x + τ), τ⟩ ≈ log C: the slope points along a secret direction, and what was crafted on
models without τ, being almost orthogonal to it, changes little. The larger ε_t, the flatter f may
be. Who knows τ has an ordinary network before him: this is no defence against white-box attacks.

Source: Yu, Xia, Lin, Kong, Yang, Lu, Tan, Kot, "Towards Model Resistant to Transferable Adversarial
Examples via Trigger Activation", IEEE TIFS 2025, arXiv:2504.14541.
Assumed: x + τ is not clamped; a fixed τ is ±ε_t by a fair coin, a learnt one starts uniform;
ε_t = 16/255, α = ε_t/10; the divergence is taken from u to the network's answer; an epoch is 391
steps, as on CIFAR with batches of 128. Both halves go through the network as one batch, since batch
norms would otherwise keep averages of two kinds of batch and fit neither.
Departures: with several processes, ∂CE/∂τ is summed over the first one's share of each batch.
"""

import hashlib
import math
from collections.abc import Collection, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from telltale.losses import want_labels
from telltale.nn.contract import Losses, want_images

TRIGGERS = ("fixed", "learnable")
OPTIONS = ("clamp", "channel", "two norms", "signs")


class TriggerActivation(nn.Module):
    """Logits (B, C) of images (B, 3, S, S), float sRGB in [0, 1], to which the trigger is added.

    Args:
        backbone: A trunk with its ``width`` and ``shape.size``, normalisation inside; or, with
            ``classes`` of 0, a classifier that gives (B, C) and has ``size`` or ``shape.size``.
        classes: C, of a linear head on the mean of maps or on the class token.
        trigger: "fixed": drawn and kept; "learnable": moved once every ``update_every`` steps.
        eps: ε_t, bound of the trigger, in [0, 1] of a pixel; 0 is no trigger at all.
        alpha: α; None is a tenth of ``eps``.
        update_every: Steps between two moves of the trigger, an epoch's; 0: by :meth:`update` only.
        kl: Weights of KL(u ‖ p) and of KL(p ‖ u), p the answer to a plain image.
        options: Some of "clamp": x + τ goes back into [0, 1]; "channel": one value a channel, not a
            pixel; "two norms": a batch norm for each half; "signs": a learnt τ starts at ±ε_t, too.

    Raises:
        ValueError: If a setting is out of range or a batch is not as it should be.
    """

    tau: Tensor
    gathered: Tensor
    seen: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        *,
        classes: int = 10,
        trigger: str = "learnable",
        eps: float = 16 / 255,
        alpha: float | None = None,
        update_every: int = 391,
        kl: Sequence[float] = (1.0, 0.0),
        options: Collection[str] = (),
    ) -> None:
        super().__init__()
        if trigger not in TRIGGERS or not set(options) <= set(OPTIONS):
            raise ValueError(
                f"want a trigger of {', '.join(TRIGGERS)} and options of {', '.join(OPTIONS)}; "
                f"got {trigger!r} and {[*options]}"
            )
        if not 0 <= eps < 1 or (alpha or 0) < 0 or update_every < 0:
            wanted = "want eps in [0, 1), alpha and update_every of 0 or more"
            raise ValueError(f"{wanted}; got {eps}, {alpha} and {update_every}")
        if len(kl) != 2 or min(kl) < 0 or classes == 1 or classes < 0:
            raise ValueError(
                f"want two weights kl of 0 or more and classes of 2 or more, or 0 for a "
                f"classifier; got {tuple(kl)} and {classes}"
            )
        self.size = _side_of(backbone)
        self.trigger, self.eps, self.update_every = trigger, eps, update_every
        self.alpha = eps / 10 if alpha is None else alpha
        self.kl, self.options = (kl[0], kl[1]), frozenset(options)
        self.classifier = Classifier(backbone, classes) if classes else backbone
        if "two norms" in self.options:
            divide_norms(self.classifier)
        sides = 1 if "channel" in self.options else self.size
        self.register_buffer("tau", torch.zeros(3, sides, sides))
        self.rekey()
        if trigger == "learnable":
            self.register_buffer("gathered", torch.zeros_like(self.tau))  # Σ ∂CE/∂τ
            self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # steps since a move

    def forward(self, images: Tensor) -> Tensor:
        """g(x) = f(x + τ), what is deployed: logits (B, C)."""
        return self.answer(self.add(images, self.tau), is_plain=False)

    def plain(self, images: Tensor) -> Tensor:
        """f(x), without the trigger: logits (B, C) that should say nothing."""
        return self.answer(self.want(images), is_plain=True)

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        """Terms to sum and minimise; in training mode a learnt trigger gathers its gradient.

        Args:
            images: (B, 3, S, S), augmented already: the trigger belongs to the network's input.
            labels: (B,) int64, below C.
        """
        want_labels(labels, len(self.want(images)))
        learns = self.trigger == "learnable" and self.training and torch.is_grad_enabled()
        # a copy: an update in place would spoil the graph
        tau = self.tau.clone().requires_grad_(learns)
        triggered, plain = self.both(images, tau)
        low, high = (int(part) for part in labels.aminmax())
        if not 0 <= low <= high < triggered.shape[1]:
            raise ValueError(f"want labels of 0 to {triggered.shape[1] - 1}, got {low} to {high}")
        right = F.cross_entropy(triggered, labels)
        if learns:
            # apart from the whole's backward pass: through a batch norm's statistics the
            # divergence of the plain half would reach the trigger, too
            self.gather(torch.autograd.grad(right, tau, retain_graph=True)[0])
        onto, from_it = divergences(plain)
        return {"ce": right, "uniform": (self.kl[0] * onto + self.kl[1] * from_it).mean()}

    def both(self, images: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of images with a trigger and of plain ones, (B, C) each."""
        triggered = self.add(images, tau)
        if "two norms" in self.options:
            return self.answer(triggered, is_plain=False), self.answer(images, is_plain=True)
        one, other = self.answer(torch.cat([triggered, images]), is_plain=False).chunk(2)
        return one, other

    def add(self, images: Tensor, tau: Tensor) -> Tensor:
        """Images with a trigger (3, S, S)."""
        return with_trigger(self.want(images), tau, clamp="clamp" in self.options)

    def answer(self, images: Tensor, *, is_plain: bool) -> Tensor:
        """The classifier's logits, by the norms of one half where they are two."""
        for part in self.classifier.modules():
            if isinstance(part, TwoNorms):
                part.is_plain = is_plain
        logits: Tensor = self.classifier(images)
        return logits

    @torch.no_grad()
    def gather(self, slope: Tensor) -> None:
        """Add ∂CE/∂τ of a step; the trigger moves if it is time to."""
        self.gathered += slope
        self.seen += 1
        if self.update_every and int(self.seen) >= self.update_every:
            self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Move a learnt trigger by α against the sign of what was gathered, and begin anew.

        Raises:
            ValueError: If the trigger is fixed.
        """
        if self.trigger != "learnable":
            raise ValueError("want a learnable trigger to move, got a fixed one")
        self.tau.copy_((self.tau - self.alpha * self.gathered.sign()).clamp(-self.eps, self.eps))
        self.gathered.zero_()
        self.seen.zero_()

    @torch.no_grad()
    def rekey(self, generator: torch.Generator | None = None) -> None:
        """Draw another trigger; the network has to be trained on before it works again."""
        drawn = torch.rand(self.tau.shape, generator=generator).to(self.tau)
        far = self.trigger == "fixed" or "signs" in self.options
        values = drawn.sub(0.5).sign() if far else 2 * drawn - 1
        self.tau.copy_(self.eps * torch.where(values == 0, 1.0, values))

    def deployed(self) -> "Triggered":
        """The network as it is handed out, without a way past its trigger; the parts are copies."""
        classifier = deepcopy(self.classifier)
        for part in classifier.modules():
            if isinstance(part, TwoNorms):
                part.is_plain = False
        return Triggered(classifier, self.tau.clone(), clamp="clamp" in self.options).eval()

    @property
    def backbone(self) -> nn.Module:
        """The trunk, or the classifier that was given."""
        inner = self.classifier
        return inner.trunk if isinstance(inner, Classifier) else inner

    def want(self, images: Tensor) -> Tensor:
        """Return images if they are of the size that the trigger has; else raise ValueError."""
        if want_images(images).shape[-1] != self.size:
            raise ValueError(f"want images of {self.size} pixels, got {images.shape[-1]}")
        return images


class Classifier(nn.Module):
    """A trunk and a linear head on its class token (B, N, C), mean of maps (B, C, h, w) or (B, C).

    Raises:
        ValueError: If the trunk does not say its ``width``.
    """

    def __init__(self, trunk: nn.Module, classes: int) -> None:
        super().__init__()
        width = getattr(trunk, "width", None)
        if not isinstance(width, int):
            raise ValueError(f"want a trunk with its width, got {type(trunk).__name__}")
        self.trunk = trunk
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.trunk(images)
        if found.ndim == 4:
            found = found.mean((2, 3))
        logits: Tensor = self.head(found[:, 0] if found.ndim == 3 else found)
        return logits


class TwoNorms(nn.Module):
    """A batch norm for triggered inputs and another for plain ones."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.triggered, self.of_plain = norm, deepcopy(norm)
        self.is_plain = False

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.of_plain if self.is_plain else self.triggered)(x)
        return out


class Triggered(nn.Module):
    """g(x) = f(x + τ) with τ as a buffer, and its SHA-256, which a state that is loaded must match.

    Args:
        classifier: f.
        tau: τ (3, S, S).
        clamp: Whether x + τ goes back into [0, 1].
    """

    tau: Tensor
    digest: Tensor

    def __init__(self, classifier: nn.Module, tau: Tensor, *, clamp: bool = False) -> None:
        super().__init__()
        self.classifier, self.clamp = classifier, clamp
        self.register_buffer("tau", tau)
        self.register_buffer("digest", torch.tensor([*bytes.fromhex(fingerprint(tau))]))
        self.register_load_state_dict_post_hook(_want_whole)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(with_trigger(images, self.tau, clamp=self.clamp))
        return logits


def with_trigger(images: Tensor, tau: Tensor, *, clamp: bool = False) -> Tensor:
    """Images (B, 3, S, S) with the same trigger (3, S, S) added to each."""
    return (images + tau).clamp(0, 1) if clamp else images + tau


def divergences(logits: Tensor) -> tuple[Tensor, Tensor]:
    """KL(u ‖ p) and KL(p ‖ u) of p = softmax(logits), each (B,), in nats; 0 if p is uniform."""
    log_p = logits.float().log_softmax(1)
    most = math.log(logits.shape[1])
    return -most - log_p.mean(1), most + (log_p.exp() * log_p).sum(1)


def fingerprint(tau: Tensor) -> str:
    """SHA-256 of a trigger's values, in hexadecimal: names the key without giving it away."""
    return hashlib.sha256(tau.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()


def divide_norms(network: nn.Module) -> None:
    """Put two batch norms where there was one, in place."""
    for part in [*network.modules()]:
        for name, child in [*part.named_children()]:
            if isinstance(child, _BatchNorm):
                setattr(part, name, TwoNorms(child))


def _want_whole(module: nn.Module, keys: object) -> None:
    if not isinstance(module, Triggered):
        raise ValueError(f"want a Triggered, got {type(module).__name__}")
    if bytes(module.digest.tolist()).hex() != (found := fingerprint(module.tau)):
        raise ValueError(f"want a trigger of the digest that is kept beside it, got {found}")


def _side_of(backbone: nn.Module) -> int:
    side = getattr(backbone, "size", None) or getattr(getattr(backbone, "shape", None), "size", 0)
    if not isinstance(side, int) or side < 1:
        raise ValueError(
            f"want a backbone with its size or shape.size in pixels, got {type(backbone).__name__}"
        )
    return side
