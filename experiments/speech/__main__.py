"""Spoken digits recognised one by one and in strings, also of new speakers, and spoken by a voice that was learned.

python -m experiments.speech --data fsdd    six speakers of the Free Spoken Digit Dataset: 97.7 % of single digits
                                            right, 75.5 % of speakers left out, a word error rate of 1.2 % in
                                            strings of 3 to 7 digits, and 58 % of what a learned voice says is
                                            understood, 45 % of the speaker's own recordings (seed 0)
python -m experiments.speech                generated digits, nothing to download
"""

import dataclasses

import numpy as np

from experiments.data import fsdd
from experiments.lib import frame, plots, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import wilson
from experiments.lib.sound import write_wav
from experiments.speech import figures, recognise, voice
from experiments.speech.features import log_mel, pad, random_strings, splice, to_wave
from experiments.speech.recognise import Recogniser


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: str = "generated"  # generated, fsdd, or the path of a tar file of such recordings
    count: int = 50  # generated recordings of each speaker and digit
    cell: str = "gru"  # of the recognisers
    hidden: int = 64  # units of a direction
    dropout: float = 0.4  # of the outputs of the cells; half of it for what they read
    warp: int = 2  # bands that training sounds are shifted up or down at most
    steps: int = 500  # updates of the recognisers of single digits
    string_steps: int = 800  # of the recogniser of strings at most, fewer where validation says so
    voice_steps: int = 1200  # of the voice
    patience: int = 4  # evaluations of strings without a better one
    strings: int = 2000  # spliced to train on
    held_out: int = 200  # spliced of each held-out kind
    beam: int = 8  # prefixes that the search keeps
    speaker: str = ""  # whose voice is learned and who is new to the recogniser of strings; "" for the second one
    embedding: int = 64  # features of a letter, and of the last frame
    voice_hidden: int = 192  # units of the decoder of the voice
    spoken: int = 60  # strings that the voice says
    text: str = "314"  # what the report lets one hear
    batch: int = 32  # recordings or strings of an update
    evaluate_every: int = 100  # updates between evaluations on held-out data

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        if not (self.text.isdigit() and self.text.isascii() and len(self.text) <= LONGEST_SPOKEN):
            raise ValueError(f"expected --text to be one to {LONGEST_SPOKEN} digits, got {self.text!r}.")
        for name in ("strings", "held_out", "beam", "spoken", "patience", "string_steps", "voice_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected --{name.replace('_', '-')} from 1, got {getattr(self, name)}.")
        if self.count <= 10:
            raise ValueError(f"expected --count from 11, five for the test and five for validation, got {self.count}.")


SMOKE = {"count": 12, "hidden": 5, "steps": 20, "string_steps": 10, "voice_steps": 10, "evaluate_every": 10}
SMOKE |= {"strings": 40, "held_out": 10, "batch": 8, "beam": 2, "cell": "irnn", "voice_hidden": 9, "embedding": 7}
SMOKE |= {"spoken": 4, "text": "3"}
ONE, MANY, SHORT = 81, 480, 180  # frames of a digit, of a string, and of what the voice says, at most; threes
LONGEST, LONGEST_SPOKEN = 7, 3  # digits of a string


def single_digits(config: Config, recordings: fsdd.Recordings, folder) -> dict:
    """Recognises single digits by the usual split, and each speaker by what was learned from the others."""
    frames = pad([log_mel(wave) for wave in recordings.waves], ONE)
    splits = recognise.split_all(recordings.indices, recordings.speakers)
    ways = list(splits.values())
    logits = recognise.learn_digits(
        config, Recogniser(config, config.cell, 10), frames, recordings.digits, ways, folder
    )
    simple = recognise.logistic_digits(frames, recordings.digits, ways)
    truths = [recordings.digits[split.test] for split in ways]
    found = {}
    for name, one, plain, truth in zip(splits, logits, simple, truths, strict=True):
        found[name] = {"network": wilson(one.argmax(axis=1) == truth), "logistic": wilson(plain == truth)}
    new, plain, truth = (np.concatenate(each[1:]) for each in (logits, simple, truths))
    found["new"] = {"network": wilson(new.argmax(axis=1) == truth), "logistic": wilson(plain == truth)}
    figures.draw_confusions(folder.parent, truth, new.argmax(axis=1))
    figures.draw_speakers(folder.parent, {name: found[name] for name in list(splits)[1:]})
    return found


def strings_of_digits(config: Config, others: fsdd.Recordings, own: fsdd.Recordings, folder):
    """Recognises strings of speakers it knows and of one it does not: error rates, and the reader of frames."""
    config = dataclasses.replace(config, steps=config.string_steps)
    rng, index = np.random.default_rng(config.seed), others.indices
    known, valid, test = others.take(index >= 10), others.take((index >= 5) & (index < 10)), others.take(index < 5)
    counts = [(config.strings, 1), *[(config.held_out, 3)] * 3]
    said = [random_strings(count, shortest, LONGEST, rng) for count, shortest in counts]
    pools = known, valid, test, own.take(own.indices < 5)
    frames = [pad(splice(pool, strings, rng), MANY) for pool, strings in zip(pools, said, strict=True)]
    parts = [recognise.label(some, strings, LONGEST) for some, strings in zip(frames[:2], said[:2], strict=True)]
    models = {"network": Recogniser(config, config.cell, 11), "window": Recogniser(config, "", 11)}
    params, found = {}, {}
    for name, model in models.items():
        params[name] = recognise.learn_strings(config, model, *parts, folder, f"strings_{name}")
        for beam in (1, config.beam):
            read = recognise.make_reader(model, beam, LONGEST)
            for what, some, strings in zip(("known", "new"), frames[2:], said[2:], strict=True):
                found[name, what, beam] = recognise.word_errors(read(params[name], some), strings)
    figures.draw_string(folder, models["network"], params["network"], frames[2], said[2])
    judge = recognise.make_reader(models["network"], config.beam, LONGEST)
    return found, lambda sounds: judge(params["network"], pad(sounds, MANY))


def speak(config: Config, own: fsdd.Recordings, judge, folder) -> dict:
    """Learns a voice, lets it speak, and counts how many strings a recogniser that does not know it gets right."""
    config = dataclasses.replace(config, steps=config.voice_steps)
    rng, index, longest = np.random.default_rng(config.seed), own.indices, LONGEST_SPOKEN
    pools = own.take(index >= 10), own.take((index >= 5) & (index < 10)), own.take(index < 5)
    parts = []
    for pool, count in zip(pools, (config.strings // 2, config.held_out), strict=False):
        strings = random_strings(count, 1, longest, rng)
        parts.append(voice.Spelled(*voice.spell(strings, longest), pad(splice(pool, strings, rng, gap=0.05), SHORT)))
    model = voice.make_voice(config)
    params = voice.learn_voice(config, model, *parts, folder)
    strings = [[int(digit) for digit in config.text], *random_strings(config.spoken - 1, 1, longest, rng)]
    spoken = voice.make_speaker(model, longest, SHORT // voice.TOGETHER)(params, strings, config.seed)
    recorded, templates = splice(pools[2], strings, rng, gap=0.05), voice.make_templates(pools[0])
    sounds = {"the voice": spoken.frames, "recordings": recorded}
    sounds["baseline: mean of the recordings"] = [np.concatenate([templates[d] for d in string]) for string in strings]
    waves = {name: [to_wave(each) for each in some] for name, some in sounds.items()}
    waves["recordings, as they are"] = None  # not through Griffin and Lim's phases
    found, lengths = {}, np.array([len(string) for string in strings])
    for name, some in waves.items():
        heard = judge([log_mel(wave) for wave in some] if some else recorded)
        right = np.array([a == b for a, b in zip(heard, strings, strict=True)])
        by_length = [wilson(right[lengths == n]) if (lengths == n).any() else None for n in range(1, longest + 1)]
        found[name] = {"all": wilson(right), "by_length": by_length, "errors": recognise.word_errors(heard, strings)}
    for name, file in (("the voice", "spoken"), ("recordings", "recorded")):
        write_wav(folder / f"{file}.wav", waves[name][0], fsdd.RATE)
    figures.draw_voice(folder, spoken, recorded[0], config.text)
    return found


def main(config: Config) -> dict:
    """Recognises digits and strings, speaks, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    recordings = fsdd.load(config.data, count=config.count, seed=config.seed)
    names = np.unique(recordings.speakers).tolist()
    speaker = config.speaker or names[min(1, len(names) - 1)]
    if speaker not in names or len(names) < 2:
        raise ValueError(f"expected --speaker to be one of two or more, {', '.join(names)}, got {speaker!r}.")
    digits = single_digits(config, recordings, run.folder / "digits")
    others, own = recordings.take(recordings.speakers != speaker), recordings.take(recordings.speakers == speaker)
    strings, judge = strings_of_digits(config, others, own, run.folder)
    spoken = speak(config, own, judge, run.folder)

    plots.run_losses(run.folder / "strings_network", title="Strings of digits", y="CTC loss (nats a digit)")
    plots.run_losses(run.folder / "voice", title="A voice", y="loss")
    known = [(strings[kind, "known", config.beam].mean) for kind in ("network", "window")]
    headline = {"accuracy": digits[""]["network"].mean, "baseline_accuracy": digits[""]["logistic"].mean}
    headline |= {"accuracy_new_speakers": digits["new"]["network"].mean}
    headline |= {"baseline_accuracy_new_speakers": digits["new"]["logistic"].mean}
    headline |= {"word_error_rate": known[0], "baseline_word_error_rate": known[1]}
    headline |= {"spoken_right": spoken["the voice"]["all"].mean}
    headline |= {"baseline_spoken_right": spoken["baseline: mean of the recordings"]["all"].mean}
    values = {"digits": digits, "strings": strings, "spoken": spoken, "speaker": speaker, "names": names}
    values["spelled"] = " ".join(voice.WORDS[int(digit)] for digit in config.text)
    return frame.finish(run, headline, recordings=len(recordings.waves), **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
