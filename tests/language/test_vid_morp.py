"""Vid-Morp: anchors, decoding and loss by hand, both stages of ReCorrect, what a net learns."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from telltale.data.moments import pooled
from telltale.language.recorrect import Memory, contrasts, medoids, refined
from telltale.language.vid_morp import (
    REACH,
    VidMorp,
    anchors,
    contrasting,
    decoded,
    edges,
    encoded,
    rescaled,
)
from telltale.nn.spans import all_windows, span_iou, suppressed

pytestmark = pytest.mark.usefixtures("one_thread")


def small(**settings: float) -> VidMorp:
    return VidMorp(width=12, sentence_width=8, channels=8, clips=16, **settings)  # type: ignore[arg-type]


def test_1_anchors_of_128_clips() -> None:
    places = edges(anchors(128))
    assert len(places) == 315
    lengths = [(32, 16, 8, 4, 2, 1)[k] * 5 for k in range(6)]
    edge = anchors(128)[:, 1].split(lengths)
    assert [float(part.max()) for part in edge] == [4, 8, 16, 32, 64, 128]
    torch.testing.assert_close(places[0], torch.tensor([1.6, 2.4]))
    torch.testing.assert_close(places[-1], torch.tensor([0.0, 128.0]))


def test_2_as_many_weights_as_the_published_network() -> None:
    network = VidMorp()
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 4_454_746
    assert network.over_time.weight.numel() + network.over_time.bias.numel() == 1_770_240
    assert sum(p.numel() for p in network.down.parameters()) == 297_216
    heads = [*network.overlap.parameters(), *network.regression.parameters()]
    assert sum(p.numel() for p in heads) == 632_154


def test_3_no_regression_gives_the_anchors_and_extremes_scale_by_e_to_0_3() -> None:
    places = anchors(32)
    none = torch.zeros(1, len(places), 2)
    torch.testing.assert_close(decoded(places, none)[0], edges(places))
    for sign in (-1, 1):
        spans = decoded(places, none + sign)[0]
        torch.testing.assert_close(
            (spans[:, 1] - spans[:, 0]) / places[:, 1],
            torch.full((len(places),), math.exp(sign * REACH)),
        )
        moved = spans.mean(1) - places[:, 0]
        torch.testing.assert_close(moved / places[:, 1], torch.full_like(moved, sign * REACH))


@given(st.lists(st.floats(-0.99, 0.99), min_size=2, max_size=2))
def test_3_encoding_undoes_decoding(delta: list[float]) -> None:
    places = anchors(16).double()
    deltas = torch.tensor(delta, dtype=torch.float64).expand(len(places), 2)
    back = encoded(places, decoded(places, deltas))
    torch.testing.assert_close(back, deltas.contiguous(), rtol=0, atol=1e-4)


def test_4_pooling_averages_pairs_and_repeats_rows() -> None:
    rows = torch.nn.functional.normalize(torch.randn(256, 6), dim=1).numpy()
    clips = pooled(3 * rows, 128)  # of any scale
    pairs = rows.reshape(128, 2, 6).mean(1)
    assert abs(clips[:-1] - pairs[:-1]).max() < 1e-6
    assert abs(clips[-1] - rows[254]).max() < 1e-6  # its end is clipped to the last row
    few = pooled(rows[:50], 128)
    assert few.shape == (128, 6)
    assert not (few != few).any()
    assert all((abs(few - row).max(1) < 1e-6).any() for row in rows[:50])
    with pytest.raises(ValueError, match="want finite"):
        pooled(rows * float("nan"), 4)


def test_5_spans_lie_in_the_video_and_start_before_they_end() -> None:
    network = small().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight += torch.randn_like(weight)
    found = network.localise(
        torch.randn(4, 16, 12), torch.randn(4, 8), torch.tensor([30.0, 7.5, 150.0, 1.0])
    )
    for spans, seconds in zip(found, (30, 7.5, 150, 1), strict=True):
        assert (spans[:, 0] >= 0).all()
        assert (spans[:, 1] <= seconds).all()
        assert (spans[:, 0] < spans[:, 1]).all()


@given(st.integers(0, 10_000))
def test_8_suppression_leaves_disjoint_spans_and_the_best_first(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    spans = torch.rand(40, 2, generator=random).sort(1).values * 10
    scores = torch.randn(40, generator=random)
    kept = suppressed(spans, scores, 0.0)
    assert kept[0] == scores.argmax()
    overlaps = span_iou(spans[kept][:, None], spans[kept]).fill_diagonal_(0)
    assert not overlaps.any()
    gone = [k for k in range(40) if k not in kept.tolist()]
    for row in gone:  # a better one was in its way
        better = kept[scores[kept] >= scores[row]]
        assert (span_iou(spans[row], spans[better]) > 0).any()
    assert suppressed(spans, scores, 0.0, most=2).tolist() == kept[:2].tolist()


def test_contrast_by_hand() -> None:
    similar = torch.tensor([0.1, 0.9, 0.5, 0.1])
    found = contrasts(similar, torch.tensor([[1.0, 2.0], [1.0, 3.0], [0.0, 4.0]]))
    torch.testing.assert_close(found, torch.tensor([0.9 - 0.7 / 3, 0.7 - 0.1, 0.0]))
    assert len(all_windows(4)) == 10


@given(st.integers(8, 20), st.sampled_from([-1, 1]))
def test_9_stage_1_pulls_a_label_towards_the_truth(length: int, side: int) -> None:
    similar = torch.zeros(1, 64)
    similar[0, 22 : 22 + length] = 1
    truth = torch.tensor([22.0, 22.0 + length])
    label = truth + side * length / 3  # IoU 1/2
    torch.testing.assert_close(span_iou(label, truth), torch.tensor(0.5))
    moved = refined(similar, label[None], drop=0.0).spans[0]
    assert span_iou(moved, truth) > 0.5
    torch.testing.assert_close(moved, 0.4 * label + 0.6 * truth)


def noisy_pairs(count: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    starts = torch.randint(0, 20, (count,), generator=random).float()
    spans = torch.stack([starts, starts + 8], -1)
    clips = torch.arange(32) + 0.5
    inside = (clips >= spans[:, :1]) & (clips < spans[:, 1:])
    wrong = torch.arange(count) % 4 == 0
    signal = inside.float() * ~wrong[:, None]
    return 0.2 + 0.1 * signal + 0.05 * torch.randn(count, 32, generator=random), spans, wrong


def test_9_mismatched_sentences_have_less_contrast() -> None:
    similar, spans, wrong = noisy_pairs(400)
    found = refined(similar, spans).contrasts
    above = (found[~wrong][:, None] > found[wrong][None]).double().mean()
    assert above > 0.9


def test_10_stage_1_drops_no_more_than_its_share_and_always_the_same() -> None:
    similar, spans, wrong = noisy_pairs(101)
    one, two = refined(similar, spans), refined(similar, spans)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert int((~one.kept).sum()) == 25
    assert wrong[~one.kept].float().mean() > 0.8
    assert refined(similar, spans, drop=0.0).kept.all()
    assert torch.equal(one.spans[~one.kept], spans[~one.kept])
    with pytest.raises(ValueError, match="want drop"):
        refined(similar, spans, drop=1.0)


def test_11_agreement_draws_a_label_geometrically() -> None:
    label, answer = torch.tensor([[0.0, 10.0]]), torch.tensor([[2.0, 12.0]])
    memory = Memory(label, history=3, warmup=0, updates=None)
    rows, apart = torch.tensor([0]), []
    for _ in range(8):
        apart.append(float((memory.correct(rows, answer) - answer).abs().max()))
    assert apart[:2] == [2.0, 2.0]  # fewer than K answers
    for before, after in pairwise(apart[1:]):
        assert after == pytest.approx(0.7 * before, rel=1e-5)


def test_11_disjoint_answers_change_nothing() -> None:
    label = torch.tensor([[0.0, 10.0]])
    memory = Memory(label, history=3, warmup=0, consensus=0.1, guard=0.0)
    for start in range(9):
        answer = torch.tensor([[4.0 * (start % 3), 4.0 * (start % 3) + 3]])
        assert torch.equal(memory.correct(torch.tensor([0]), answer), label)
    assert medoids(memory.answers)[1].item() == 0


def test_11_the_guard_and_the_number_of_updates_hold() -> None:
    label, far = torch.tensor([[0.0, 10.0]]), torch.tensor([[8.0, 18.0]])
    rows = torch.tensor([0])
    guarded = Memory(label, history=2, warmup=0)
    free = Memory(label, history=2, warmup=0, guard=0.0, updates=2)
    for _ in range(9):
        guarded.correct(rows, far)
        free.correct(rows, far)
    assert torch.equal(guarded.labels, label)
    torch.testing.assert_close(free.labels, far + 0.49 * (label - far))


@given(st.permutations(range(5)), st.integers(0, 1000))
def test_12_the_medoid_is_an_answer_whatever_their_order(order: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    answers = torch.rand(1, 5, 2, generator=random).sort(-1).values
    middle, agreement = medoids(answers)
    again, same = medoids(answers[:, order])
    assert (answers[0] == middle[0]).all(1).any()
    assert torch.equal(middle, again)
    torch.testing.assert_close(agreement, same)


def test_13_labels_stay_before_the_warm_up_and_for_rows_that_never_come() -> None:
    labels = torch.rand(4, 2).sort(1).values
    memory = Memory(labels, history=2, warmup=3, guard=0.0, consensus=0.0)
    rows, answers = torch.tensor([2, 0, 3]), torch.tensor([[0.0, 1.0]]).expand(3, 2)
    for _ in range(3):
        assert torch.equal(memory.correct(rows, answers), labels)
    memory.correct(rows, answers)
    assert torch.equal(memory.labels[1], labels[1])
    assert not torch.equal(memory.labels[0], labels[0])
    late = Memory(labels, history=4, warmup=0, guard=0.0, consensus=0.0)
    for _ in range(3):
        assert torch.equal(late.correct(rows, answers), labels)


@pytest.mark.parametrize(("floor", "ceiling", "bias"), [(0.5, 1.0, 0.0), (0.3, 0.7, 0.2)])
def test_14_the_overlaps_target(floor: float, ceiling: float, bias: float) -> None:
    overlaps = torch.linspace(0, 1, 201)
    target = rescaled(overlaps, floor, ceiling, bias)
    assert not target[overlaps < floor - 1e-6].any()
    assert (target[overlaps > ceiling - 1e-6] > 1 - 1e-5).all()
    assert (target.diff() >= 0).all()
    middle = rescaled(torch.tensor((floor + ceiling) / 2), floor, ceiling, bias)
    torch.testing.assert_close(middle, torch.tensor((1 - bias) / 2 + bias))


def test_the_loss_by_hand() -> None:
    network = small().eval()
    features, sentences = torch.randn(2, 16, 12), torch.randn(2, 8)
    spans, seconds = torch.tensor([[0.0, 12.0], [6.0, 9.0]]), torch.tensor([24.0, 12.0])
    losses = network.loss(features, sentences, spans, seconds)
    scores, deltas = (part.detach() for part in network.predict(features, sentences))
    overlap = regression = positives = 0.0
    for item, (start, end) in enumerate([(0.0, 8.0), (8.0, 12.0)]):  # in clips of 16
        for k, (a, b) in enumerate(edges(network.anchors).tolist()):
            shared = max(0.0, min(b, end) - max(a, start))
            iou = shared / (b - a + end - start - shared)
            y, p = min(max((iou - 0.5) / 0.5, 0), 1), float(scores[item, k].sigmoid())
            overlap -= (y * math.log(p) + (1 - y) * math.log(1 - p)) / scores.numel()
            if iou > 0.5:
                positives += 1
                wanted = (
                    ((start + end) / 2 - (a + b) / 2) / (0.3 * (b - a)),
                    math.log((end - start) / (b - a)) / 0.3,
                )
                for want, got in zip(wanted, deltas[item, k].tolist(), strict=True):
                    gap = abs(got - min(max(want, -1), 1))
                    regression += gap**2 / 2 if gap < 1 else gap - 0.5
    assert losses["overlap"].item() == pytest.approx(overlap, rel=1e-4)
    assert losses["regression"].item() == pytest.approx(regression / positives, rel=1e-4)


def test_it_learns_moments_of_toy_videos() -> None:
    from telltale.fit import adam, fit
    from telltale.language.vid_morp import Moments

    random = torch.Generator().manual_seed(5)
    concepts = torch.randn(6, 12, generator=random)
    which = torch.randint(0, 6, (64,), generator=random)
    starts = torch.randint(0, 10, (64,), generator=random)
    spans = torch.stack([starts, starts + 5], -1).float()
    clips = torch.arange(16)
    inside = (clips >= spans[:, :1]) & (clips < spans[:, 1:])
    features = 0.3 * torch.randn(64, 16, 12, generator=random)
    features = features + inside[..., None] * concepts[which][:, None]
    sentences, seconds = concepts[which][:, :8], torch.full((64,), 16.0)
    network = small()
    batch = {
        "features": features, "sentences": sentences, "spans": spans, "durations": seconds,
    }  # fmt: skip
    for _ in fit(network, [batch] * 120, adam(network, lr=5e-3)):
        pass
    network.eval()
    assert isinstance(network(features, sentences), Moments)
    best = torch.stack([f[0, :2] for f in network.localise(features, sentences, seconds)])
    assert span_iou(best, spans).mean() > 0.7


def test_it_says_what_it_wants() -> None:
    network = small()
    good = {
        "features": torch.randn(2, 16, 12),
        "sentences": torch.randn(2, 8),
        "spans": torch.tensor([[0.0, 5.0], [1.0, 3.0]]),
        "durations": torch.tensor([9.0, 9.0]),
    }
    wrong = {
        "features": torch.randn(2, 15, 12),
        "sentences": torch.randn(2, 9),
        "spans": torch.tensor([[5.0, 5.0], [1.0, 3.0]]),
        "durations": torch.tensor([9.0]),
    }
    network.loss(**good)
    for name, value in wrong.items():
        with pytest.raises(ValueError, match="want"):
            network.loss(**(good | {name: value}))
    for wrong in ({"clips": 12}, {"floor": 1.0}, {"width": 0}):
        with pytest.raises(ValueError, match="want"):
            VidMorp(**wrong)  # type: ignore[arg-type]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 14), st.integers(1, 16))
def test_evidence_is_the_contrast_of_stage_1(start: int, length: int) -> None:
    end = min(16, start + length)
    similar = torch.linspace(-1, 1, 16).sin() + torch.arange(16).float().cos()
    span = torch.tensor([[start, end]])
    expected = contrasts(similar, span) * ((end - start) / 16) ** 0.5
    torch.testing.assert_close(contrasting(span.float(), 16) @ similar, expected)


def test_evidence_finds_what_an_untrained_network_does_not() -> None:
    torch.manual_seed(0)
    network = VidMorp(width=12, sentence_width=12, channels=8, clips=16).eval()
    word = torch.nn.functional.normalize(torch.randn(1, 12), dim=1)
    clips = 0.1 * torch.randn(1, 16, 12)
    clips[:, 8:12] += word
    plain = network(clips, word)
    assert torch.equal(plain.scores, network.predict(clips, word)[0])  # 0: as published
    network.evidence.fill_(40.0)
    found = network(clips, word)
    best = found.spans[0, found.scores.argmax()]
    assert span_iou(best, torch.tensor([0.5, 0.75])) > 0.5
    torch.testing.assert_close(found.scores, plain.scores + 40 * (
        torch.nn.functional.normalize(clips, dim=-1)[0] @ word[0] @ network.inside.T
    ))  # fmt: skip
