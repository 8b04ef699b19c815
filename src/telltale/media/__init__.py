"""Files to arrays, safely and with limits."""

from telltale.media.files import Limits, MediaError, find_media, kind_of, sniff
from telltale.media.picture import Picture, read_picture
from telltale.media.quantisation import jpeg_quality
from telltale.media.video import Frame, read_video

__all__ = [
    "Frame",
    "Limits",
    "MediaError",
    "Picture",
    "find_media",
    "jpeg_quality",
    "kind_of",
    "read_picture",
    "read_video",
    "sniff",
]
