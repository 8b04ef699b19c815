"""What pictures meet on the web, at levels 1–5: made smaller, uploaded, forwarded.

Assumed: all numbers. Platforms change theirs without notice; these are of their order (long sides
of 2,048 to 960 pixels, JPEG qualities of 85 to 60). Nothing is ever enlarged.
"""

from collections.abc import Callable
from functools import partial

from telltale.degrade.pixels import Moved, Pixels, checked, jpeg, resize, screenshot, webp
from telltale.degrade.suite import step

Hop = Callable[[Pixels], Pixels]

SHRUNK = (0.75, 0.5, 0.375, 0.25, 0.125)


def shrunk(pixels: Pixels, level: int) -> Moved:
    """A picture scaled to 3/4 … 1/8 and left so: bicubic, without aliasing."""
    return Moved(resize(checked(pixels), step(level, SHRUNK)), scale=step(level, SHRUNK))


def shared(pixels: Pixels, level: int) -> Moved:
    """A picture that one to five services have passed on, level by level.

    1 an upload (2,048 pixels, JPEG 85); 2 a messenger (1,600, 75); 3 the upload, then the
    messenger; 4 those, a screenshot of it, and a second upload (1,280, 80); 5 all that, forwarded
    by another messenger (960, WebP 60).
    """
    before = max(checked(pixels).shape[:2])
    for hop in _ROUTES[int(step(level, (0, 1, 2, 3, 4)))]:
        pixels = hop(pixels)
    return Moved(pixels, scale=max(pixels.shape[:2]) / before)


def _sent(
    pixels: Pixels, *, side: int, quality: int, codec: Callable[[Pixels, int], Pixels]
) -> Pixels:
    """A picture as a service stores it: at most ``side`` pixels long, compressed anew."""
    long_side = max(pixels.shape[:2])
    fitted = resize(pixels, side / long_side) if long_side > side else pixels
    return codec(fitted, quality)


_UPLOAD = partial(_sent, side=2048, quality=85, codec=jpeg)
_MESSENGER = partial(_sent, side=1600, quality=75, codec=jpeg)
_AGAIN = partial(_sent, side=1280, quality=80, codec=jpeg)
_FORWARDED = partial(_sent, side=960, quality=60, codec=webp)
_ROUTES: tuple[tuple[Hop, ...], ...] = (
    (_UPLOAD,),
    (_MESSENGER,),
    (_UPLOAD, _MESSENGER),
    (_UPLOAD, _MESSENGER, screenshot, _AGAIN),
    (_UPLOAD, _MESSENGER, screenshot, _AGAIN, _FORWARDED),
)
