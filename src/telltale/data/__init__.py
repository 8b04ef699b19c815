"""What networks learn from: one table format, readers, and synthesis.

A batch is a dict of arrays or tensors. The words that it may use, one list for all methods:

    images    (B, 3, H, W)     float32 sRGB in [0, 1]
    labels    (B,)             int64, 1 = the claim holds
    masks     (B, 1, H, W)     float32, 1 = forged
    noise     (B, 1, H, W)     float32 in [0, 1], noise before any scaling, 0.5 = none
    attributes (B, K)          int64, the class of each of K tasks
    domains   (B,)             int64, where an item comes from
    partners  (B, 3, H, W)     the paired real face or pristine reference
    covers    (B, 3, H, W)     natural pictures to hide the images in
    scores    (B,)             float32 in [0, 1], e.g. quality
    echoes    (B, 2, F, T)     spectrograms
    clips     (B, T, 3, H, W)  frames
    tracks    (B, T, 4)        x, y, w, h in pixels of a target in each frame
    events    (B, T, 2, H, W)  counts by polarity
    boxes     (B, 4)           pixels
    tokens    (B, N)           int64
    spans     (B, 2)           seconds
    features  (B, T, C)        of a video's clips
    sentences (B, C)           vectors
    durations (B,)             seconds
"""

WORDS = (
    "images",
    "labels",
    "attributes",
    "masks",
    "noise",
    "domains",
    "partners",
    "covers",
    "scores",
    "echoes",
    "clips",
    "tracks",
    "events",
    "boxes",
    "tokens",
    "spans",
    "features",
    "sentences",
    "durations",
)
