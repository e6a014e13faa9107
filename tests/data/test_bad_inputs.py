"""Bad input of every kind: one call, one line that says what it is and what was expected."""

from types import SimpleNamespace

import numpy as np
import pytest
from pictures import png
from PIL import Image

from kvae_tf import data
from kvae_tf.apps import videos
from kvae_tf.data import SequenceData, annotations, video
from kvae_tf.data.settings import DataSettings
from kvae_tf.errors import UserError
from kvae_tf.experiments import run
from kvae_tf.experiments.settings import Settings

N, T, H, W = 10, 4, 6, 8
ZEROS = np.zeros((N, T, H, W), np.uint8)
NAN = np.full((N, T, H, W), np.nan)
MODEL = SimpleNamespace(frame_shape=(H, W, 1), control_size=0)


def masked(shape, dtype=float):
    values = np.ma.masked_array(np.ones(shape, dtype), np.zeros(shape, bool))
    values[(0,) * len(shape)] = np.ma.masked
    return values


def seen_in(*sequences):
    observed = np.zeros((N, T))
    observed[list(sequences)] = 1
    return observed


def arrays(images=ZEROS, **known):
    return lambda folder: SequenceData.from_arrays(images, source="mine", **known)


def vectors(values, **known):
    return lambda folder: data.from_vectors(values, source="mine", **known)


def npz(**known):
    def call(folder):
        np.savez(folder / "mine.npz", **known)
        data.load(folder / "mine.npz", 0)

    return call


def table(text, lengths=None, ahead=0):
    def call(folder):
        (folder / "mine.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        annotations.read(folder / "mine.csv", lengths or {"a": 3}, ahead)

    return call


def pictures(count, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(count):
        Image.new("L", (W, H), 50 + t).save(folder / f"{t:03}.png")
    return folder


def film(count=100, rows="", **options):
    """A folder of pictures with annotations, as a data set."""

    def call(folder):
        if rows:
            (folder / "mine.csv").write_text(rows)
            options["annotations"] = folder / "mine.csv"
        data.load(pictures(count, folder / "mine"), 0, **options)

    return call


def picture(kind, **options):
    """A picture of a format that its name does not tell."""

    def call(folder):
        frames = [Image.new("L", (W, H), t) for t in range(3)]
        more = {"append_images": frames[1:]} if options else {}
        frames[0].save(folder / "0.png", kind, **options, **more)
        video.read(folder)

    return call


def deep_colour(folder):
    """A PNG of 16 bits a channel in which one colour means transparent."""
    levels = np.full((H, W, 3), 40_000)
    (folder / "0.png").write_bytes(png(levels, 2, levels[0, 0].astype(">u2").tobytes()))
    video.read(folder)


def settings(**values):
    return lambda folder: DataSettings(**values).validate()


def experiment(dataset="mine.npz", **values):
    """The data of an experiment; ``dataset`` is a world, or a file in the folder."""

    def call(folder):
        np.savez(folder / "mine.npz", images=ZEROS)
        name = dataset if dataset in data.WORLDS else str(folder / dataset)
        run.load_data(Settings.from_dict(values | {"dataset": name, "run_dir": str(folder)}))

    return call


def clip(sequences=False, **options):
    """What ``impute`` and ``forecast`` read: a folder of pictures, or a file of sequences."""

    def call(folder):
        np.savez(folder / "mine.npz", images=ZEROS)
        path = folder / "mine.npz" if sequences else pictures(T, folder / "mine")
        videos.read(path, MODEL, **options)

    return call


ROWS = [
    # Arrays: shapes, channels and masks.
    ("one film", arrays(np.zeros((T, H, W, 3))), "looks like one film"),
    ("channels first", arrays(np.zeros((N, T, 3, H, W))), "8 channels; .* the channels come last"),
    ("grey channels first", arrays(np.zeros((N, T, 1, H, W), "u1")), "the channels come last"),
    ("four channels", arrays(np.zeros((N, T, H, W, 4))), r"4 channels; expected .* with 1 or 3$"),
    ("a list of masked", arrays([masked((T, H, W))] * 2), "masked entries; .* as one array"),
    ("masked controls", arrays(controls=masked((N, T, 2))), "controls holds masked entries"),
    ("masked states", arrays(states=masked((N, T, 2))), "states holds masked entries"),
    ("masked observed", arrays(observed=masked((N, T))), "observed holds masked entries"),
    ("masked counts", arrays(num_objects=masked((N,), int)), "num_objects holds masked entries"),
    ("large controls", arrays(controls=np.full((N, T), 1e39)), "controls holds NaN or infinities"),
    ("no counts", arrays(num_objects=np.zeros(N, int)), "num_objects is int64 .* positive"),
    ("fractional counts", arrays(num_objects=np.ones(N)), "num_objects is float64"),
    ("text", arrays(np.full((N, T, H, W), "a")), "images has dtype <U1"),
    ("dates", arrays(controls=np.zeros((N, T), "M8[s]")), r"controls has dtype datetime64\[s\]"),
    # Nothing to see.
    ("all NaN", arrays(NAN), "mine: all 40 frames of 10 sequences are missing; expected at least"),
    ("all masked", arrays(np.ma.masked_all((N, T, H, W))), "all 40 frames"),
    ("none observed", arrays(observed=np.zeros((N, T))), "all 40 frames"),
    ("both together", arrays(np.where(seen_in(1)[..., None, None] > 0, NAN, 0.5),
                             observed=seen_in(1)), "all 40 frames"),
    ("vectors of NaN", vectors(np.full((N, T, 2), np.nan)), "all 40 frames"),
    ("a file of NaN", npz(images=NAN), r"mine\.npz: all 40 frames"),
    ("a part of NaN", npz(train_images=ZEROS, test_images=NAN), "test part: all 40 frames"),
    ("a part is left with none", npz(images=ZEROS, observed=seen_in(0)),
     r"mine\.npz: the (validation|test) split: all 4 frames of 1 sequences are missing"),
    ("a split is left with none", lambda folder: data.split(
        SequenceData.from_arrays(ZEROS, observed=seen_in(0))), "split: all .* are missing"),
    ("a film's part is unseen", film(rows="frame,observed\n" + "".join(
        f"{t},{int(t < 85)}\n" for t in range(100))), "mine, test part: all 80 frames"),
    ("all is hidden", settings(missing_rate=1.0, first_seen=0), "--missing_rate is 1, expected"),
    # Vectors.
    ("large vectors", vectors(np.full((N, T, 2), 1e39)), "vectors holds infinities"),
    ("flat vectors", vectors(np.zeros((N, T))), r"vectors has shape \(10, 4\)"),
    ("a list of masked vectors", vectors([masked((T, 2))] * 2), "vectors holds masked entries"),
    # Annotations.
    ("a frame twice", table("frame,u\n0,1\n1,2\n1,3\n"), "line 4: frame 1 of a has two rows"),
    ("a frame twice, of two videos", table("video,frame,u\na,0,1\nb,0,1\na,0,1\n",
     {"a": 1, "b": 1}), "line 4: frame 0 of a has two rows"),
    ("no first row", table("frame,u\n1,2\n2,3\n"), "no row for frame 0 of a"),
    ("no row in between", table("frame,observed\n0,1\n2,1\n"), "no row for frame 1 of a, expected"),
    ("no row before a forecast", table("frame,u\n0,1\n1,1\n3,1\n", {"a": 4}, 2), "frame 2 of a"),
    ("no row at all", table("frame,u\n"), "no row for frame 0"),
    ("a video without a row", table("video,frame,u\na,0,1\n", {"a": 1, "b": 2}), "frame 0 of b"),
    ("above float32", table("frame,u\n0,1e39\n1,2\n"), "line 2: u is '1e39', expected a finite"),
    ("NaN", table("frame,u\n0,nan\n1,2\n"), "line 2: u is 'nan', expected a finite number"),
    ("infinity", table("frame,u\n0,1\n1,-inf\n"), "line 3: u is '-inf', expected a finite"),
    ("an empty entry", table("frame,u\n0,1\n1,\n"), "line 3: u is '', expected a finite"),
    ("Python's own number", table("frame,u\n0,1_0\n1,2\n"), "line 2: u is '1_0'"),
    ("half a frame", table("frame,u\n0.5,1\n"), "frame is 0.5, expected 0 to 2"),
    ("a frame before the first", table("frame,u\n-1,1\n"), "frame is -1, expected 0 to 2"),
    ("nothing said", table("frame\n0\n1\n2\n"), "columns frame, expected observed or controls"),
    ("semicolons", table("frame;u\n0;1\n"), "has the columns frame;u, expected also frame"),
    ("another encoding", table("frame,u\n0,1\n".encode("utf-16")), "is no CSV file"),
    ("an unknown video", table("video,frame,u\nc,0,1\n"), "line 2: there is no video 'c'"),
    # Pictures and films.
    ("a TIFF called PNG", picture("TIFF"), "no picture out of PNG"),
    ("a moving PNG", picture("PNG", save_all=True), "holds 3 pictures, expected one"),
    ("a PNG of 16 bits with a clear colour", deep_colour, "0.png has 16 bits and a transparent"),
    ("a moving GIF called PNG", picture("GIF", save_all=True), "holds 3 pictures, expected one"),
    ("a GIF of text", lambda folder: video.read(
        [folder / "a.gif", (folder / "a.gif").write_text("GIF")][0]), "damaged, or no picture"),
    ("a stride alone", film(stride=2), "--stride is 2, expected 0, or --window"),
    ("a window of one", film(window=1), "--window is 1, expected 0 or at least 2"),
    ("too many frames", film(max_memory=1e-9), "--max_memory is 1e-09: .* --frame_size"),
    # Flags that do nothing for the data.
    ("a window for arrays", experiment(window=5), "--window is 5, but .*npz is no video"),
    ("a stride for arrays", experiment(stride=5), "--stride is 5, but"),
    ("a crop for arrays", experiment(crop=(0, 0, 2, 2)), "--crop is 0,0,2,2, but .* is no video"),
    ("a size for arrays", experiment(frame_size=(2, 2)), "--frame_size is 2,2, but"),
    ("colour for arrays", experiment(channels=3), "--channels is 3, .* expected a video, or no"),
    ("annotations for arrays", experiment(annotations="a.csv"), "--annotations is a.csv, but"),
    ("annotations for a world", experiment("box", annotations="a.csv"), "=box is no video"),
    ("a window for a world", experiment("pendulum", window=8), "--dataset=pendulum is no video"),
    ("walls for arrays", experiment(draw_walls=True), "draw_walls"),
    ("memory for arrays", experiment(max_memory=1e-9), "--max_memory is 1e-09"),
    ("no limit", settings(max_memory=float("nan")), "--max_memory is nan, expected a finite"),
    ("a crop for sequences", clip(True, crop=(0, 0, 2, 2)), "--crop is 0,0,2,2, but .* a file of"),
    ("annotations for sequences", clip(True, annotations_path="a.csv"), "--annotations is a.csv"),
    ("a number for a video", clip(sequence=1), "--sequence is 1, but .* is a video"),
    ("an unknown sequence", clip(True, sequence=10), "--sequence is 10, expected 0 to 9"),
    ("memory for a video", clip(max_memory=1e-9), "--max_memory is 1e-09"),
    ("memory for sequences", clip(True, max_memory=1e-9), "--max_memory is 1e-09"),
    # Frames to hide.
    ("an open end", clip(hidden="2-"), "--hide is '2-', expected frames as 10-19,25"),
    ("an open start", clip(hidden="-2"), "--hide is '-2', expected frames as"),
    ("two ends", clip(hidden="1-2-3"), "--hide is '1-2-3', expected frames as"),
    ("an empty word", clip(hidden="1,,2"), "--hide is '1,,2', expected frames as"),
    ("another digit", clip(hidden="²"), "--hide is '²', expected frames as"),
    ("a frame after the last", clip(hidden="4"), "frames 0 to 3 only"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
@pytest.mark.filterwarnings("error")
def test_one_line(call, words, tmp_path):
    with pytest.raises(UserError, match=words) as error:
        call(tmp_path)
    assert "\n" not in str(error.value)


def test_a_sequence_without_a_seen_frame_may_lie_beside_others():
    found = SequenceData.from_arrays(ZEROS, observed=seen_in(3, 4))
    assert found.observed.any(axis=1).sum() == 2


def test_an_archive_that_is_a_link_to_nothing(tmp_path):
    (tmp_path / "mine.npz").symlink_to(tmp_path / "none")
    with pytest.raises(UserError, match=r"mine\.npz does not exist"):
        data.load(tmp_path / "mine.npz", 0)
