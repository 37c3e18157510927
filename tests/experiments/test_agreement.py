"""Agreement over a distance: the grammar against what is counted by hand, no sentence in two parts, a smoke run."""

import random

import jax
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.agreement import __main__ as agreement
from experiments.agreement import grammar
from experiments.agreement.__main__ import Config, generate
from experiments.agreement.grammar import Sentence, Verb, Writer, encode, parse, write
from experiments.agreement.learning import make_model
from experiments.lib.report import read_metrics

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(agreement)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    text = (folder / "report.md").read_text()
    assert 0.2 < result["accuracy_rnn"] < 0.8 and str(result["accuracy_rnn"]) in text
    assert {"accuracy_rnn_near_and_far", "accuracy_rnn_every_verb"} < set(result)
    assert figures_of(folder) == {"cells", "lessons", "loss"}
    assert (folder / "rnn-far" / "checkpoints" / "20").is_dir()
    assert np.shape([line["loss"] for line in read_metrics(folder / "rnn-far" / "metrics.jsonl")]) == (20, 4)


def test_counts_made_by_hand():
    words = "the cat which already ate the mice near the houses and which the dogs which the man feeds chase"
    assert parse(words).verbs == (Verb(position=19, plural=0, distance=17, attractors=3),)
    assert parse(words.replace("cat", "cats")).verbs == (Verb(19, 1, 17, 1),)  # the man
    writer = Writer(random.Random(0))
    writer.words = words.split()[:-2]
    writer.agree(16, ("feeds", "feed"))
    writer.agree(13, ("chases", "chase"))
    assert " ".join(writer.words) == words
    assert writer.verbs == [Verb(17, 0, 0, 0), Verb(18, 1, 4, 1)]


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 4, 5, 6, 7, 13, 50, 61])
def test_sentences_have_the_distance_and_agree(distance):
    forms = {pair[plural]: plural for pair in (*grammar.PRESENT, grammar.TO_BE) for plural in (0, 1)}
    for seed in range(60):
        writer = Writer(random.Random(seed))
        writer.sentence(distance, seed % 2)
        main = writer.verbs[-1]
        assert (main.position, main.plural, main.distance) == (len(writer.words) - 1, seed % 2, distance)
        agreeing = [i for i, word in enumerate(writer.words) if word in forms]
        assert agreeing == [verb.position for verb in writer.verbs]  # no other word tells the number of a subject
        opened = []
        for verb in writer.verbs:
            subject = verb.position - verb.distance - 1
            between = writer.words[subject + 1 : verb.position]
            other = [noun for noun in between if grammar.NUMBER.get(noun, verb.plural) != verb.plural]
            assert grammar.NUMBER[writer.words[subject]] == verb.plural == forms[writer.words[verb.position]]
            assert len(other) == verb.attractors
            opened.append((subject, verb.position))
        # Clauses nest: the verb of a later subject comes earlier, or after the whole of the other clause.
        assert all(not a < c <= b < d for a, b in opened for c, d in opened)
        depth = max(sum(a < i <= b for a, b in opened) for i in range(len(writer.words)))
        assert depth <= grammar.DEEPEST + 1 and set(writer.words) <= set(grammar.WORDS)


def test_numbers_are_asked_for_before_the_verb_is_read():
    words = ("the", "cat", "which", "the", "dogs", "chase")
    sentence = Sentence(words, (Verb(5, 1, 0, 0), Verb(6, 0, 4, 1)))
    every, main = (encode([sentence], 8, every_verb=flag) for flag in (True, False))
    assert [grammar.WORDS[i] for i in every.words[:, 0]] == [*words, "", ""]
    assert every.numbers[:, 0].tolist() == [-1, -1, -1, -1, 1, 0, -1, -1]
    assert main.numbers[:, 0].tolist() == [-1, -1, -1, -1, -1, 0, -1, -1]


def test_no_sentence_is_in_two_parts_and_numbers_are_balanced():
    config = Config(sentences=300, validation=40, held_out=30, tested=(5, 6, 50))
    corpus = generate(config)
    test = {tuple(encode([s], 66, every_verb=False).words[:65, 0].tolist()) for s in corpus.test}
    for lesson in agreement.LESSONS[:3]:
        training, validation = corpus.training[lesson], corpus.validation[lesson]
        seen, chosen_on = ({tuple(column) for column in part.words.T.tolist()} for part in (training, validation))
        assert not seen & test and not chosen_on & test and not seen & chosen_on
        main = [column[column >= 0][-1] for column in training.numbers.T]
        assert sum(main) == 150 and (training.numbers >= 0).any(axis=0).all()
    assert np.mean([s.verbs[-1].plural for s in corpus.test]) == 0.5
    assert (corpus.training["far"].words[20] > 0).all()  # at least 20 words between
    counted = (corpus.training["every_verb"].numbers >= 0).sum(), (corpus.training["near_and_far"].numbers >= 0).sum()
    assert counted[0] > counted[1] == 300


def test_known_sentences_are_not_written():
    rng = random.Random(0)
    known = {s.words for s in write(150, [0], rng, set())}
    assert not known & {s.words for s in write(150, [0], rng, known)}


def test_baselines_made_by_hand():
    last_wrong = parse("the cat which saw the dog near the trees")
    both_wrong = parse("the cats which the dog near the tree sees")
    found = agreement.baselines([last_wrong, both_wrong])
    assert found == {"the last noun": 0.0, "most other nouns": 0.5}


def test_the_future_changes_no_prediction():
    init, apply = make_model(Config(hidden=7, embedding=5), "lstm", chrono=True)
    apply = jax.jit(apply)
    params = init(jax.random.key(0))
    words = np.random.default_rng(0).integers(1, len(grammar.WORDS), (11, 3)).astype(np.int32)
    other = words.copy()
    other[6:] = 1
    logits, changed = apply(params, words), apply(params, other)
    np.testing.assert_array_equal(logits[:6], changed[:6])
    assert not np.allclose(logits[6:], changed[6:])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cell": "elman"}, "expected --cell to be one of"),
        ({"tested": (5, 10)}, "expected --tested from 5 on and with 50"),
        ({"tested": (1, 50)}, "expected --tested from 5 on"),
        ({"nearest": 70}, "expected --nearest from 0 to --longest 60, got 70"),
        ({"rates": ()}, "expected at least one of --rates"),
        ({"seeds": 0}, "expected at least one of --rates"),
    ],
)
def test_bad_options_are_one_sentence(options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        agreement.main(smoke_config(agreement, tmp_path, **options))
