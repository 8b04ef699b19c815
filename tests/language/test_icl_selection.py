"""MLSM and TTF: the layers' choice, the weights' objective, ranking, tuning, prompts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from telltale.fit import adam, fit
from telltale.language.icl_selection import (
    MLSM,
    TTF,
    ChoiceTTF,
    GenerationTTF,
    adapted,
    agreement,
    experts,
    softmax,
)
from telltale.language.levels import choose_layers, cka_map, linear_cka
from telltale.language.prompts import TEMPLATES, Template, build, option_losses
from telltale.language.retrievers import BM25, EPR, Random, TopK, helpful, ranked, unit
from telltale.nn.text import text_encoder

pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")
TAU = 0.01


def similarities(
    seed: int, levels: int = 3, count: int = 256, rows: int = 1
) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0.7, 0.05, (rows, levels, count))


def bank(seed: int, count: int = 400, layers: int = 6, width: int = 12) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, layers, width)).astype(np.float32)


def test_1_cka() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1000, 8))
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x, 3 * x @ turn + 5) == pytest.approx(1)
    assert linear_cka(x, y) < 0.05
    mixed = x + 0.5 * y
    assert linear_cka(x, mixed) == pytest.approx(linear_cka(mixed, x))
    assert linear_cka(x, mixed) == pytest.approx(linear_cka(x @ turn, 2 * mixed))


def test_2_one_layer_of_each_cluster() -> None:
    rng = np.random.default_rng(1)
    groups = rng.normal(size=(3, 300, 10))
    layers = [groups[k // 4] + 0.05 * rng.normal(size=(300, 10)) for k in range(12)]
    vectors = np.stack(layers, 1)
    chosen = choose_layers(vectors, 3)
    assert [layer // 4 for layer in chosen] == [0, 1, 2]
    assert np.array_equal(chosen, choose_layers(vectors, 3))
    same = np.repeat(vectors[:, :1], 12, 1)
    assert len(set(choose_layers(same, 3).tolist())) == 3
    assert set(choose_layers(same, 3).tolist()) <= set(range(12))
    with pytest.raises(ValueError, match=r"want 1\.\.12 layers"):
        choose_layers(vectors, 13)


def test_3_shares_sum_to_one_and_one_expert_agrees_with_itself() -> None:
    similar = similarities(2, levels=1, rows=4)
    levels = experts(similar, TAU)
    np.testing.assert_allclose(levels.sum(1), 1)
    loss, slope = agreement(np.array([0.3]), similar, levels, TAU)
    assert loss == pytest.approx(-(levels**2).sum(1).mean())
    assert slope == pytest.approx(0, abs=1e-12)


def test_4_experts_that_agree_leave_the_weights_alone() -> None:
    similar = np.repeat(similarities(3, levels=1), 3, 1)
    levels = experts(similar, TAU)
    losses = [
        agreement(np.array(theta), similar, levels, TAU)[0] for theta in ([0, 0, 0], [2, -1, 0.5])
    ]
    assert losses[0] == pytest.approx(losses[1])
    np.testing.assert_allclose(adapted(similar, similar, TAU, 0.05), 1 / 3)


def test_5_two_that_agree_outweigh_a_third_on_average() -> None:
    weight = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        one, other = rng.normal(0.7, 0.05, (2, 256))
        similar = np.stack([one, one, other])[None]
        weight.append(adapted(similar, similar, TAU, 0.05)[:2].sum())
    assert np.mean(weight) > 0.75
    assert sum(w > 2 / 3 for w in weight) >= 14


@given(st.integers(0, 1000))
def test_6_the_slope_is_autograds_and_that_of_differences(seed: int) -> None:
    similar = similarities(seed, rows=3, count=32)
    levels = experts(similar, TAU)
    theta = np.random.default_rng(seed).normal(size=3)
    slope = agreement(theta, similar, levels, TAU)[1]
    start, r = torch.tensor(theta, requires_grad=True), torch.from_numpy(similar)
    mixed = (torch.einsum("k,bkn->bn", start.softmax(0), r) / TAU).softmax(1)
    loss = -(mixed * (r / TAU).softmax(2).sum(1)).sum(1).mean()
    loss.backward()
    np.testing.assert_allclose(slope, start.grad, rtol=1e-6, atol=1e-9)
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        up, down = (agreement(theta + s * step, similar, levels, TAU)[0] for s in (1, -1))
        assert (up - down) / 2e-6 == pytest.approx(slope[k], rel=1e-4, abs=1e-6)


@given(st.integers(0, 1000))
def test_7_weights_sum_to_one_and_are_no_worse_than_equal_ones(seed: int) -> None:
    similar, checked = similarities(seed, rows=2), similarities(seed + 5000, count=64, rows=2)
    weights = adapted(similar, checked, TAU, 0.05)
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()
    levels = experts(checked, TAU)
    least = agreement(np.log(weights), checked, levels, TAU)[0]
    assert least <= agreement(np.zeros(3), checked, levels, TAU)[0] + 1e-12


@given(st.integers(0, 1000), st.floats(0.1, 10), st.permutations(range(20)))
def test_8_ranking_knows_no_scale_and_no_order(seed: int, scale: float, order: list[int]) -> None:
    scores = np.random.default_rng(seed).normal(size=(2, 20))
    rows = ranked(scores, 5)
    assert np.array_equal(rows, ranked(scale * scores, 5))
    assert np.array_equal(rows, np.array(order)[ranked(scores[:, order], 5)])
    assert np.array_equal(rows, np.argsort(scores, 1)[:, -5:])


def test_9_all_weight_on_one_layer_is_its_top_k(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, queries = bank(4), bank(5, 10)
    mlsm = MLSM().fit(pool)
    hot = np.array([0.0, 1.0, 0.0])
    monkeypatch.setattr("telltale.language.icl_selection.adapted", lambda *given: hot)
    plain = TopK(layer=int(mlsm.chosen_[1])).fit(pool)
    assert np.array_equal(mlsm.select(queries, 7), plain.select(queries, 7))


def test_13_a_query_never_chooses_itself_nor_is_weighed_by_itself() -> None:
    pool = bank(6, 60)
    own = np.arange(0, 20)
    drawn = []
    mlsm = MLSM().fit(pool)
    plain = mlsm._drawn
    mlsm._drawn = lambda rng, mine: drawn.append((mine, plain(rng, mine))) or drawn[-1][1]  # type: ignore[method-assign,func-returns-value]
    texts = [f"text {k}" for k in range(60)]
    ways = (
        (mlsm, pool), (TopK(), pool), (BM25(), texts), (Random(), texts),
    )  # fmt: skip
    for chooser, whole in ways:
        rows = chooser.fit(whole).select(whole[:20], 9, own)
        assert not (rows == own[:, None]).any()
        assert all(len(set(row)) == 9 for row in rows.tolist())
    assert (TopK().fit(pool).select(pool[:20], 1)[:, 0] == own).all()  # else it would
    assert len(drawn) == 3
    for mine, (learn, check) in drawn:
        assert not {*learn} & {*check}
        assert not {*mine} & {*learn, *check}


def test_14_a_batch_of_one_is_the_case_alone() -> None:
    pool, queries = bank(7), bank(8, 5)
    each = MLSM(batch=1).fit(pool)
    rows = each.select(queries, 4)
    first = MLSM(batch=1).fit(pool)
    assert np.array_equal(first.select(queries[:1], 4)[0], rows[0])
    np.testing.assert_array_equal(first.weights_[0], each.weights_[0])
    asked = unit(queries[:, each.chosen_])
    similar = np.einsum("kc,knc->kn", asked[0], each.pool_)[None]
    rng = np.random.default_rng([0, 1])
    learn, check = each._drawn(rng, np.array([-1]))
    slow = adapted(similar[:, :, learn], similar[:, :, check], TAU, 0.05)
    np.testing.assert_allclose(slow, each.weights_[0], atol=1e-4)
    assert MLSM(batch=8).fit(pool).select(queries, 4).shape == (5, 4)


def labelled(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows in which one of two words in the middle of noise is the label."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(10, 60, (count, 8), generator=random)
    labels = torch.randint(0, 2, (count,), generator=random)
    tokens[torch.arange(count), torch.randint(0, 8, (count,), generator=random)] = 2 + labels
    return tokens, labels


def test_10_tuning_puts_the_same_label_side_by_side() -> None:
    pool, labels = labelled(256, 1)
    queries, truth = labelled(100, 2)
    network = TTF(text_encoder("bert_toy"))

    def same() -> float:
        with torch.no_grad():
            z, q = network.eval()(pool), network.eval()(queries)
        rows = TopK().fit(z[:, None].numpy()).select(q[:, None].numpy(), 5)
        return float((labels[torch.from_numpy(rows)] == truth[:, None]).float().mean())

    before = same()
    batches = [{"tokens": pool, "labels": labels}] * 40
    for _ in fit(network, batches, adam(network, lr=1e-2)):
        pass
    assert before < 0.7
    assert same() > 0.9


def test_11_untrained_ttf_is_the_last_layers_top_k() -> None:
    encoder = text_encoder("bert_toy").eval()
    pool, queries = labelled(50, 3)[0], labelled(6, 4)[0]
    with torch.no_grad():
        layers = [encoder(t).numpy() for t in (pool, queries)]
        z = [TTF(encoder).eval()(t)[:, None].numpy() for t in (pool, queries)]
    one, two = (TopK(layer=-1).fit(a).select(b, 5) for a, b in (layers, z))
    assert np.array_equal(one, two)


def test_12_the_best_stands_last_and_the_worst_goes_first() -> None:
    shown = [(f"q{k}", "no") for k in range(5)]  # the last is the most similar
    template = Template("{input} => {output}")
    length = lambda text: len(text.split())  # noqa: E731
    whole = build(template, "new", shown, length=length, budget=99)
    assert whole.text.splitlines() == [f"q{k} => no" for k in range(5)] + ["new =>"]
    short = build(template, "new", shown, length=length, budget=9)
    assert short.rows == (3, 4)
    assert short.text.splitlines() == ["q3 => no", "q4 => no", "new =>"]
    assert length(short.text) <= 9
    with pytest.raises(ValueError, match="the query has 2 tokens"):
        build(template, "new", shown, length=length, budget=1)


def test_15_padding_changes_nothing() -> None:
    encoder = text_encoder("bert_toy").eval()
    tokens = labelled(4, 5)[0]
    more = torch.cat([tokens, torch.zeros(4, 7, dtype=torch.int64)], 1)
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens), encoder(more), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="want int64 tokens"):
        encoder(tokens.float())


def test_choices_are_scored_together() -> None:
    network = ChoiceTTF(text_encoder("bert_toy"))
    tokens, labels = torch.randint(1, 60, (16, 3, 6)), torch.randint(0, 3, (16,))
    for _ in fit(network, [{"tokens": tokens, "labels": labels}] * 60, adam(network, lr=1e-2)):
        pass
    network.eval()
    with torch.no_grad():
        scores = network.head(network(tokens.flatten(0, 1))).view(16, 3)
        assert network.loss(tokens, labels)["ce"] < 0.5
    assert (scores.argmax(1) == labels).float().mean() > 0.8


def test_generation_keeps_the_encoder() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    network = GenerationTTF(T5ForConditionalGeneration(config))
    tokens, targets = torch.randint(2, 40, (8, 6)), torch.randint(2, 40, (8, 3))
    losses = []
    for step in fit(network, [{"tokens": tokens, "targets": targets}] * 60, adam(network, lr=1e-2)):
        losses.append(step.loss)
    assert losses[-1] < 0.5 * losses[0]
    network.eval()
    more = torch.cat([tokens, torch.zeros(8, 4, dtype=torch.int64)], 1)
    with torch.no_grad():
        torch.testing.assert_close(network(tokens), network(more), rtol=0, atol=1e-5)
        a, b = (
            network.loss(tokens, t)["ce"]
            for t in (targets, torch.cat([targets, torch.zeros(8, 2, dtype=torch.int64)], 1))
        )
    torch.testing.assert_close(a, b)


def test_bm25_by_hand() -> None:
    pool = ["the cat sat", "the dog", "a bird sings on the roof"]
    scores = BM25().fit(pool).scores(["Cat?", "the"])
    rarity = np.log(1 + 2.5 / 1.5)
    mean = 11 / 3
    assert scores[0].tolist() == pytest.approx(
        [rarity * 2.5 / (1 + 1.5 * (0.25 + 0.75 * 3 / mean)), 0, 0]
    )
    assert scores[1].argmax() == 1  # the shortest
    assert BM25().fit(pool).select(["dog"], 2)[0].tolist() == [0, 1]
    with pytest.raises(ValueError, match="want a pool"):
        BM25().fit([])


def test_epr_learns_what_helped() -> None:
    losses = np.array([[0.3, 0.1, 0.9, 0.5], [1.0, 2.0, 0.1, 0.4]])
    best, worst = helpful(losses, 1)
    assert best.tolist() == [[1], [2]]
    assert worst.tolist() == [[2], [1]]
    with pytest.raises(ValueError, match="want losses"):
        helpful(losses, 3)
    (pool, labels), network = labelled(64, 6), EPR(text_encoder("bert_toy"))
    like = torch.stack([pool[labels == k][0] for k in labels])
    unlike = torch.stack([pool[labels == 1 - k][0] for k in labels])
    batch = {"tokens": pool, "positives": like, "negatives": unlike}
    steps = [s.loss for s in fit(network, [batch] * 40, adam(network, lr=5e-3))]
    assert steps[-1] < steps[0] - 0.5


def test_a_language_models_answers() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    prompts = [[3, 4, 5], [6, 7, 8, 9, 10]]
    single, several = [[11], [12], [13]], [[11], [12, 14]]
    for options in (single, several):
        found = option_losses(model, prompts, options)
        assert found.shape == (2, len(options))
        for row, prompt in enumerate(prompts):
            for place, option in enumerate(options):
                tokens = torch.tensor([[*prompt, *option]])
                with torch.no_grad():
                    logits = model(tokens).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
                wanted = -logits[range(len(option)), option].mean()
                torch.testing.assert_close(found[row, place], wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="one token or more"):
        option_losses(model, [[]], single)


def test_templates_end_in_their_output() -> None:
    for template in TEMPLATES.values():
        asked = template.question("it")
        for option in template.options or ("yes",):
            assert template.example("it", option).startswith(asked)
            assert template.example("it", option).endswith(option)


def test_settings_out_of_range() -> None:
    with pytest.raises(ValueError, match="want layers"):
        MLSM(tau=0)
    with pytest.raises(ValueError, match="want float vectors"):
        MLSM().fit(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"want 1\.\.5 demonstrations"):
        TopK().fit(bank(1, 5)).select(bank(2, 2), 6)
    with pytest.raises(ValueError, match="classes"):
        TTF(text_encoder("bert_toy"), classes=1)
    assert cka_map(bank(1), bank(1)).shape == (6, 6)
    np.testing.assert_allclose(softmax(np.array([1e4, 1e4])), 0.5)
