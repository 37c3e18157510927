"""Checkpoints: rotation, round trips, damage of every file, other configurations, folders that cannot be written."""

import gc
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_helpers import first_params, run

from rnnjax.training import Checkpoints, restore_params
from rnnjax.training import _reading as reading

# orbax leaves coroutines behind where reading a damaged file fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collect_what_orbax_left():
    yield
    gc.collect()


class Tree(NamedTuple):
    """Leaves of all kinds."""

    weights: jax.Array
    half: jax.Array
    step: jax.Array
    flags: jax.Array
    key: jax.Array
    nothing: None
    more: dict


def tree_of(seed):
    rng = np.random.default_rng(seed)
    return Tree(
        weights=jnp.asarray(rng.normal(size=(3, 5)), jnp.float32),
        half=jnp.asarray(rng.normal(size=7), jnp.bfloat16),
        step=jnp.int32(seed),
        flags=jnp.asarray(rng.random(5) < 0.5),
        key=jax.random.key(seed),
        nothing=None,
        more={"list": [jnp.asarray(rng.normal(size=2), jnp.float16)], "numpy": rng.normal(size=3).astype(np.float32)},
    )


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


def test_restore_gives_back_what_was_saved(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(17, tree_of(17))
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(tree_of(0))
    assert restored.step == 17
    assert_same(restored.tree, tree_of(17))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_random_keys_draw_the_same_after_a_round_trip(tmp_path, impl):
    keys = jax.random.split(jax.random.key(5, impl=impl), 3)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"keys": keys})
        restored = checkpoints.restore({"keys": jax.random.split(jax.random.key(0, impl=impl), 3)}).tree["keys"]
    assert restored.dtype == keys.dtype and restored.shape == (3,)
    np.testing.assert_array_equal(jax.random.normal(restored[1], (3,)), jax.random.normal(keys[1], (3,)))


def test_rotation_keeps_the_newest(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (3, 5, 11, 20):
            checkpoints.save(step, {"w": jnp.full(3, step)})
        assert checkpoints.steps() == [11, 20]
        restored = checkpoints.restore({"w": jnp.zeros(3, int)})
    assert restored.step == 20 and restored.tree["w"].tolist() == [20] * 3
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["11", "20"]


def test_the_best_is_never_rotated_away_and_can_be_restored(tmp_path):
    template = {"w": jnp.zeros(3)}
    losses = {3: 0.75, 5: 0.25, 7: None, 11: 0.5, 13: 0.25, 17: float("nan")}

    def restored(checkpoints, step):
        found = checkpoints.restore(template, step=step)
        return found.step, found.tree["w"].tolist()

    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(step, {"w": jnp.full(3, step, jnp.float32)}, held_out_loss=loss)
        assert checkpoints.steps() == [5, 13, 17]  # 5 has the lowest loss, 13 no lower one
        assert [restored(checkpoints, step) for step in (None, "best", 13)] == [
            (17, [17.0] * 3),
            (5, [5.0] * 3),
            (13, [13.0] * 3),
        ]
    with Checkpoints(tmp_path, keep=2) as checkpoints:  # which reads the losses of those that are there
        checkpoints.save(19, template, held_out_loss=0.3)
        assert checkpoints.steps() == [5, 17, 19]
        checkpoints.save(23, template, held_out_loss=0.125)
        assert checkpoints.steps() == [19, 23]


def test_the_best_of_none_with_a_loss_is_an_error(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore({"w": jnp.zeros(3)}, step="best") is None
        checkpoints.save(3, {"w": jnp.zeros(3)})
        with pytest.raises(ValueError, match=rf"expected a checkpoint with a held_out_loss in {tmp_path}, got none"):
            checkpoints.restore({"w": jnp.zeros(3)}, step="best")


@pytest.mark.parametrize("step", [4, "newest", 1.5])
def test_a_step_that_is_not_there_is_an_error_that_lists_those_that_are(tmp_path, step):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match=rf"in {tmp_path} \(of which there are none\), got {step!r}"):
            checkpoints.restore({"w": jnp.zeros(3)}, step=step)
        for saved in (3, 5):
            checkpoints.save(saved, {"w": jnp.zeros(3)})
        with pytest.raises(ValueError, match=rf"in {tmp_path} \(3, 5\), got {step!r}"):
            checkpoints.restore({"w": jnp.zeros(3)}, step=step)


def test_leaves_have_readable_names_that_orbax_alone_can_read(tmp_path):
    import orbax.checkpoint as ocp

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(17, {"state": tree_of(17), "lone/~/name": jnp.arange(3)})
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        arrays = reader.restore(tmp_path / "17" / "tree")
    names = ("weights", "half", "step", "flags", "key", "more.list.0", "more.numpy")
    assert set(arrays) == {"lone/~/name", *(f"state.{name}" for name in names)}
    np.testing.assert_array_equal(arrays["state.weights"], tree_of(17).weights)


def test_a_lone_leaf_and_shapes_as_a_template(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, jnp.arange(3.0))
        checkpoints.save(3, tree_of(3))
        assert checkpoints.restore(jnp.zeros(3), step=2).tree.tolist() == [0.0, 1.0, 2.0]
        assert_same(checkpoints.restore(jax.eval_shape(lambda: tree_of(0)), step=3).tree, tree_of(3))


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ({"a": {"b": np.zeros(2)}, "a.b": np.zeros(3)}, ValueError, "to have different names, got a.b twice"),
        ({"a": [np.zeros(2), 3.5]}, TypeError, "to be arrays, got float as a.1"),
    ],
)
def test_trees_that_cannot_be_named_are_refused(tmp_path, tree, error, message):
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(error, match=message):
        checkpoints.save(1, tree)


def test_a_leaf_comes_back_where_the_template_is(tmp_path):
    mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": jnp.arange(3.0), "key": jax.random.split(jax.random.key(0), 3)})
        template = jax.device_put({"w": jnp.zeros(3), "key": jax.random.split(jax.random.key(1), 3)}, split)
        restored = checkpoints.restore(template).tree
    assert restored["w"].sharding == restored["key"].sharding == split
    assert restored["w"].tolist() == [0.0, 1.0, 2.0]


def test_nothing_global_is_touched(tmp_path):
    """Imports, constructors and saves change no logger and no flag."""
    import logging

    def loggers():
        return {
            name: (logging.getLogger(name).level, *logging.getLogger(name).filters) for name in ("absl", "jax", None)
        }

    before = loggers()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": jnp.zeros(3)})
        checkpoints.restore({"w": jnp.zeros(3)})
    assert loggers() == before


def test_keep_is_positive(tmp_path):
    with pytest.raises(ValueError, match="expected keep to be positive, got 0"):
        Checkpoints(tmp_path, keep=0)


def test_a_step_saved_twice_stays_as_it_was(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, {"w": jnp.arange(3.0)})
        checkpoints.save(3, {"w": jnp.zeros(3)})
        assert checkpoints.restore({"w": jnp.zeros(3)}).tree["w"].tolist() == [0, 1, 2]


def test_an_empty_folder_restores_to_none(tmp_path):
    with Checkpoints(tmp_path / "new" / "folder") as checkpoints:
        assert checkpoints.steps() == [] and checkpoints.restore(tree_of(0)) is None


# ---- damage --------------------------------------------------------------------------------------------------

CONFIG = {"hidden": 13, "cell": "lstm"}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with checkpoints of steps 5 and 11."""
    folder = tmp_path_factory.mktemp("two")
    with Checkpoints(folder, config=CONFIG) as checkpoints:
        for step in (5, 11):
            checkpoints.save(step, tree_of(step))
    return folder


def files_of(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def copied(two, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(two, folder)
    return folder


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(at):
    def damage(path):
        data = bytearray(path.read_bytes())
        data[int(at * (len(data) - 1))] ^= 0x41
        path.write_bytes(bytes(data))

    return damage


def restore(folder):
    """What is restored, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Checkpoints(folder, config=CONFIG) as checkpoints:
            restored = checkpoints.restore(tree_of(0))
    return restored, [str(w.message) for w in caught if w.category is RuntimeWarning]


def assert_right_or_set_aside(folder, what):
    """Never wrong numbers: either nothing was hurt, or the damaged one is named, set aside, and skipped."""
    restored, messages = restore(folder)
    if restored.step == 11:
        assert not messages, what
        assert_same(restored.tree, tree_of(11))
        return False
    assert restored.step == 5, what
    assert_same(restored.tree, tree_of(5))
    assert len(messages) == 1, what
    assert f"{folder / '11'} is damaged" in messages[0] and "damaged-11" in messages[0], what
    assert (folder / "damaged-11").is_dir() and not (folder / "11").exists(), what
    return True


def damage_each_file(two, tmp_path, damage):
    """The files of the newest checkpoint whose damage was noticed."""
    noticed = []
    for file in files_of(two / "11"):
        folder = copied(two, tmp_path)
        damage(folder / "11" / file)
        if assert_right_or_set_aside(folder, f"{damage} of {file}"):
            noticed.append(str(file))
        shutil.rmtree(folder)
    assert noticed
    return noticed


def test_a_truncated_file_is_noticed(two, tmp_path):
    assert any("tree/" in name for name in damage_each_file(two, tmp_path, truncate))


@pytest.mark.slow
@pytest.mark.parametrize("at", [0.0, 0.45, 0.7, 1.0])
def test_a_flipped_byte_is_noticed(two, tmp_path, at):
    damage_each_file(two, tmp_path, flip(at))


@pytest.mark.slow
def test_every_byte_of_the_configuration_and_sum_is_guarded(two, tmp_path):
    (about,) = (
        file
        for file in files_of(two / "11")
        if file.parts[0] == "about" and b"seal" in (two / "11" / file).read_bytes()
    )
    size = (two / "11" / about).stat().st_size
    for at in range(0, size, 7):
        folder = copied(two, tmp_path)
        flip(at / (size - 1))(folder / "11" / about)
        assert_right_or_set_aside(folder, f"byte {at} of {about}")
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_deleted_file_is_noticed(two, tmp_path):
    assert any("tree/" in name for name in damage_each_file(two, tmp_path, Path.unlink))


def test_an_empty_directory_is_noticed(two, tmp_path):
    folder = copied(two, tmp_path)
    shutil.rmtree(folder / "11")
    (folder / "11").mkdir()
    assert assert_right_or_set_aside(folder, "an empty directory")


@pytest.mark.parametrize("item", ["tree", "about"])
def test_a_missing_item_is_noticed(two, tmp_path, item):
    folder = copied(two, tmp_path)
    shutil.rmtree(folder / "11" / item)
    assert assert_right_or_set_aside(folder, f"without {item}")


def test_sound_arrays_of_another_checkpoint_are_noticed(two, tmp_path):
    """The storage's own checks pass; the SHA-256 does not."""
    folder = copied(two, tmp_path)
    shutil.rmtree(folder / "11" / "tree")
    shutil.copytree(folder / "5" / "tree", folder / "11" / "tree")
    assert assert_right_or_set_aside(folder, "the arrays of step 5")


def damage_arrays(folder):
    """Hurts every file of the arrays."""
    for file in (folder / "tree").rglob("*"):
        if file.is_file():
            truncate(file)


def test_a_damaged_step_can_be_saved_again(two, tmp_path):
    folder = copied(two, tmp_path)
    damage_arrays(folder / "11")
    with Checkpoints(folder, config=CONFIG) as checkpoints:
        with pytest.warns(RuntimeWarning, match="is damaged"):
            assert checkpoints.restore(tree_of(0)).step == 5
        assert checkpoints.steps() == [5]
        checkpoints.save(11, tree_of(97))
        assert checkpoints.steps() == [5, 11]
        assert_same(checkpoints.restore(tree_of(0)).tree, tree_of(97))
    assert (folder / "damaged-11").is_dir()


def test_damage_of_the_same_step_again_finds_another_name(two, tmp_path):
    folder = copied(two, tmp_path)
    (folder / "damaged-11").mkdir()
    damage_arrays(folder / "11")
    with Checkpoints(folder, config=CONFIG) as checkpoints, pytest.warns(RuntimeWarning, match="damaged-11-2"):
        assert checkpoints.restore(tree_of(0)).step == 5
    assert (folder / "damaged-11-2" / "tree").is_dir()


def test_all_damaged_is_an_error_that_names_the_folder(two, tmp_path):
    folder = copied(two, tmp_path)
    damage_arrays(folder / "11")
    damage_arrays(folder / "5")
    with (
        Checkpoints(folder, config=CONFIG) as checkpoints,
        pytest.warns(RuntimeWarning, match="is damaged") as caught,
        pytest.raises(ValueError, match=rf"expected a readable checkpoint in {folder}, got 2 damaged ones"),
    ):
        checkpoints.restore(tree_of(0))
    assert len(caught) == 2


def test_a_damaged_step_that_was_asked_for_is_an_error(two, tmp_path):
    folder = copied(two, tmp_path)
    damage_arrays(folder / "5")
    with (
        Checkpoints(folder, config=CONFIG) as checkpoints,
        pytest.warns(RuntimeWarning, match="is damaged"),
        pytest.raises(ValueError, match=rf"readable checkpoint in {folder}, got 1 damaged one;"),
    ):
        checkpoints.restore(tree_of(0), step=5)
    assert (folder / "damaged-5").is_dir() and (folder / "11").is_dir()


def test_the_best_that_is_damaged_is_skipped_for_the_next(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step, loss in ((3, 0.5), (5, 0.25), (7, 0.75)):
            checkpoints.save(step, {"w": jnp.full(3, step)}, held_out_loss=loss)
        damage_arrays(tmp_path / "5")
        with pytest.warns(RuntimeWarning, match="is damaged"):
            assert checkpoints.restore({"w": jnp.zeros(3, int)}, step="best").step == 3
        assert checkpoints.steps() == [3, 7]


def test_a_half_written_checkpoint_is_named(two, tmp_path):
    folder = copied(two, tmp_path)
    half = folder / "20.orbax-checkpoint-tmp-7"
    shutil.copytree(folder / "11", half)
    with pytest.warns(RuntimeWarning, match=rf"{half} is half-written"):
        checkpoints = Checkpoints(folder, config=CONFIG)
    with checkpoints:
        assert checkpoints.steps() == [5, 11]
        restored = checkpoints.restore(tree_of(0))
    assert restored.step == 11
    assert_same(restored.tree, tree_of(11))


@pytest.mark.slow
def test_damage_is_skipped_and_left_where_it_is_by_those_who_only_read(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        run(checkpoints=checkpoints, checkpoint_every=4)
    for file in (tmp_path / "11" / "tree").rglob("d/*"):
        file.write_bytes(b"")
    with pytest.warns(RuntimeWarning, match=r"11 is damaged .*; it is skipped for the one before it\.$"):
        assert restore_params(tmp_path, first_params()).step == 8
    assert (tmp_path / "11").is_dir()


# ---- other configurations ------------------------------------------------------------------------------------


def test_another_configuration_is_refused_with_the_names_of_the_entries(two, tmp_path):
    folder = copied(two, tmp_path)
    with Checkpoints(folder, config={"hidden": 17, "cell": "lstm", "layers": 2}) as checkpoints:
        with pytest.raises(ValueError) as error:
            checkpoints.restore(tree_of(0))
        message = str(error.value)
        assert "hidden=17 but 13 there" in message and "layers=2 but None there" in message
        assert "cell" not in message and str(folder / "11") in message
        assert checkpoints.steps() == [5, 11]  # it is not damaged
        assert checkpoints.restore(tree_of(0), ignore=("hidden", "layers")).step == 11


def test_a_configuration_is_compared_as_json(tmp_path):
    with Checkpoints(tmp_path, config={"sizes": (3, 5), "rate": 0.1}) as checkpoints:
        checkpoints.save(1, {"w": jnp.arange(3.0)})
    with Checkpoints(tmp_path, config={"rate": 0.1, "sizes": [3, 5]}) as checkpoints:
        assert checkpoints.restore({"w": jnp.zeros(3)}).step == 1


def test_another_configuration_is_never_written_to(two, tmp_path):
    folder = copied(two, tmp_path)
    with Checkpoints(folder, config={"hidden": 17}, keep=1) as checkpoints:
        for _ in range(2):
            with pytest.raises(
                ValueError, match=r"to be of this configuration, got another one \(cell=None but 'lstm'"
            ):
                checkpoints.save(20, tree_of(20))
        assert checkpoints.steps() == [5, 11]
        checkpoints.restore(tree_of(0), ignore=("hidden", "cell"))
        checkpoints.save(20, tree_of(20))  # what may differ when it is read may when it goes on
        assert checkpoints.steps() == [20]


def test_a_checkpoint_of_an_older_version_is_refused(tmp_path):
    import orbax.checkpoint as ocp

    old = {"config": CONFIG, "sha256": "of all arrays", "leaves": {".w": [[3], "float32"]}}
    old["seal"] = reading._seal(old)
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as writer:
        writer.save(tmp_path / "5" / "about", old)
    with Checkpoints(tmp_path, config=CONFIG) as checkpoints:
        for call in (lambda: checkpoints.restore(tree_of(0)), lambda: checkpoints.save(7, tree_of(0))):
            with pytest.raises(ValueError, match="got one of an older version; start a new run in another folder"):
                call()
        assert checkpoints.steps() == [5]


@pytest.mark.parametrize(
    "template",
    [
        {"w": np.zeros((5, 3), np.float32), "b": np.zeros(2, np.float32)},
        {"w": np.zeros((3, 5), np.float32)},
        {"w": np.zeros((3, 5), np.float32), "b": np.zeros(2, np.float32), "c": np.zeros(7, np.float32)},
        {"w": np.zeros((3, 5), np.float32), "z": np.zeros(2, np.float32)},
        {"w": np.zeros((3, 5), np.int32), "b": np.zeros(2, np.float32)},
    ],
)
def test_a_template_of_another_structure_does_not_destroy_the_checkpoint(tmp_path, template):
    """The user's mistake is not damage of the file."""
    saved = {"w": jnp.arange(15.0).reshape(3, 5), "b": jnp.arange(2.0) + 7}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, saved)
        with pytest.raises(ValueError, match=r"to have the leaves of the template, got others \((w|b|c|z) is .* there"):
            checkpoints.restore(template)
        assert checkpoints.steps() == [1]
        assert_same(checkpoints.restore(saved).tree, saved)


# ---- folders -------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OSError) as error:
        Checkpoints(tmp_path / "file" / "below")
    assert "expected a folder that can be written" in str(error.value)
    assert str(tmp_path / "file" / "below") in str(error.value) and "pass another one" in str(error.value)


def test_a_file_in_place_of_the_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OSError, match="expected a folder that can be written"):
        Checkpoints(tmp_path / "file")


def test_nothing_is_left_behind_by_the_check_of_the_folder(tmp_path):
    with Checkpoints(tmp_path / "c"):
        pass
    assert not list((tmp_path / "c").iterdir())


def test_a_relative_folder_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Checkpoints("runs/c") as checkpoints:
        checkpoints.save(3, {"w": jnp.arange(3.0)})
    assert (tmp_path / "runs" / "c" / "3").is_dir()


def test_another_template_is_refused_also_where_the_configuration_may_differ(tmp_path):
    folder = tmp_path / "c"
    with Checkpoints(folder, config={"hidden": 3, "out": "a"}) as checkpoints:
        checkpoints.save(5, {"w": jnp.arange(3.0)})
    with Checkpoints(folder, config={"hidden": 3, "out": "b"}) as checkpoints:
        with pytest.raises(ValueError, match="to have the leaves"):
            checkpoints.restore({"w": jnp.arange(3), "z": jnp.arange(2.0)}, ignore=("out",))
        assert checkpoints.steps() == [5]
        assert checkpoints.restore({"w": jnp.zeros(3)}, ignore=("out",)).tree["w"].tolist() == [0.0, 1.0, 2.0]


# ---- a full disk ---------------------------------------------------------------------------------------------

FULL_DISK = """
import resource, sys
import jax.numpy as jnp
from rnnjax.training import Checkpoints
checkpoints = Checkpoints(sys.argv[1], keep=1)
checkpoints.save(3, {"w": jnp.arange(30_000.0)})
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))  # a file cannot grow beyond it
try:
    checkpoints.save(5, {"w": jnp.sin(jnp.arange(30_000.0))})
except OSError as error:
    print(error, error.__cause__, error.__suppress_context__)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(checkpoints.steps(), checkpoints.restore({"w": jnp.zeros(30_000)}).step)
checkpoints.save(7, {"w": jnp.zeros(30_000)})
print(checkpoints.steps())
checkpoints.close()
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_the_checkpoints_before_it_stay(tmp_path):
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    sentence, *steps = done.stdout.splitlines()
    assert sentence == (
        f"expected to write the checkpoint of step 5 into {tmp_path}, got an error (File too large); those before it "
        "are whole: make room, or pass another folder, and resume. None True"
    )
    assert steps == ["[3] 3", "[7]"]
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7"]
