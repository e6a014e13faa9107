"""A user's own videos: files and folders, good and bad; annotations; windows and parts."""

import io
import struct

import numpy as np
import pytest
from pictures import png
from PIL import Image

from kvae_tf.data import annotations, load, video
from kvae_tf.errors import UserError

H, W = 12, 16
RNG = np.random.default_rng(0)


def frames_of(count, seed=0):
    """Grey frames, each with a number in its brightness."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 3, (count, H, W))
    return (frames + 5 * (np.arange(count) % 50)[:, None, None]).astype(np.uint8)


def write_folder(folder, frames, suffix=".png"):
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{t}{suffix}")
    return folder


def write_gif(path, frames):
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=rest, loop=0)
    return path


def write_mp4(path, frames, rate=10, codec="mpeg4"):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.bit_rate = 10_000_000
        for frame in frames:
            colour = np.repeat(frame[..., None], 3, axis=-1) if frame.ndim == 2 else frame
            container.mux(stream.encode(av.VideoFrame.from_ndarray(colour, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_pictures_in_the_order_of_their_numbers(tmp_path):
    frames = frames_of(12)
    folder = write_folder(tmp_path / "run", frames)
    (folder / ".hidden.png").write_bytes(b"")
    found = video.read(folder)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[..., 0], frames)


@pytest.mark.parametrize("write", [write_gif, write_mp4])
def test_files(write, tmp_path):
    frames = frames_of(20)
    path = write(tmp_path / ("a.gif" if write is write_gif else "a.mp4"), frames)
    found = video.read(path)
    assert found.shape == (20, H, W, 1)
    assert np.abs(found[..., 0].astype(int) - frames).mean() < 4


def saved(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


LEVELS = np.arange(H * W).reshape(H, W)  # 0 … 191
DEEP = LEVELS * 256 + 100  # the same of 16 bits; 100 is less than a level of 8 bits
GREY = Image.fromarray(LEVELS.astype(np.uint8))
COLOUR = np.stack([LEVELS, 255 - LEVELS, LEVELS // 2], -1).astype(np.uint8)
LEFT = np.arange(W) < W // 2
ALPHA = np.broadcast_to(np.where(LEFT, 255, 0), (H, W)).astype(np.uint8)


def with_alpha(mode):
    picture = Image.fromarray(COLOUR) if mode == "RGBA" else GREY.copy()
    picture.putalpha(Image.fromarray(ALPHA))
    assert picture.mode == mode
    return picture


def palette():
    picture = GREY.convert("P")
    picture.putpalette([c for i in range(256) for c in (i, 255 - i, i // 2)])
    return picture


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    return saved(Image.fromarray(np.rot90(COLOUR).copy()), exif=exif)


@pytest.mark.parametrize(
    ("content", "truth"),
    [
        pytest.param(png(DEEP, 0), LEVELS, id="grey of 16 bits"),
        pytest.param(png(np.stack([DEEP] * 3, -1), 2), LEVELS, id="RGB of 16 bits"),
        pytest.param(
            png(DEEP, 0, struct.pack(">H", DEEP[5, 5])),
            np.where(LEVELS[5, 5] == LEVELS, 0, LEVELS),
            id="grey of 16 bits with a transparent level",
        ),
        pytest.param(saved(GREY), LEVELS, id="grey"),
        pytest.param(saved(GREY.point(lambda x: 255 * (x > 90), "1")), 255 * (LEVELS > 90), id="1"),
        pytest.param(saved(Image.fromarray(COLOUR)), COLOUR, id="RGB"),
        pytest.param(saved(Image.fromarray(COLOUR), "BMP"), COLOUR, id="BMP"),
        pytest.param(saved(palette()), COLOUR, id="palette"),
        pytest.param(saved(palette(), "GIF"), COLOUR, id="GIF"),
        pytest.param(
            saved(palette(), transparency=7),
            np.where(LEVELS[..., None] == 7, 0, COLOUR),
            id="palette with a transparent colour",
        ),
        pytest.param(
            saved(Image.fromarray(COLOUR), transparency=(7, 248, 3)),
            np.where(LEVELS[..., None] == 7, 0, COLOUR),
            id="RGB with a transparent colour",
        ),
        pytest.param(saved(with_alpha("RGBA")), COLOUR * LEFT[:, None], id="RGBA"),
        pytest.param(saved(with_alpha("LA")), LEVELS * LEFT, id="LA"),
        pytest.param(turned(), COLOUR, id="EXIF"),
    ],
)
def test_pictures_of_every_kind(content, truth, tmp_path):
    (tmp_path / "0.png").write_bytes(content)
    truth = truth if truth.ndim == 3 else np.stack([truth] * 3, -1)
    found = video.read(tmp_path, video.FrameTransform(channels=3))[0]
    np.testing.assert_array_equal(found, truth)
    grey = Image.fromarray(truth.astype(np.uint8)).convert("L")
    np.testing.assert_array_equal(video.read(tmp_path)[0, ..., 0], grey)


def test_cmyk(tmp_path):
    saved_as = Image.new("CMYK", (W, H), (0, 255, 255, 0))
    (tmp_path / "0.jpg").write_bytes(saved(saved_as, "JPEG", quality=100))
    found = video.read(tmp_path, video.FrameTransform(channels=3))
    assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 3


def test_what_is_transparent_in_a_gif_is_black(tmp_path):
    pictures = [Image.fromarray(np.dstack([COLOUR, np.roll(ALPHA, t, 1)])) for t in range(3)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], disposal=2)
    found = video.read(tmp_path / "a.gif", video.FrameTransform(channels=3))
    for t in range(3):
        seen = np.roll(LEFT, t)
        assert not found[t][:, ~seen].any()
        # A palette holds 256 colours, so these are not exactly the same.
        assert np.abs(found[t].astype(int) - COLOUR)[:, seen].mean() < 8


def test_a_video_that_is_to_be_turned(tmp_path):
    path = write_mp4(tmp_path / "a.mp4", np.stack([COLOUR] * 2))
    whole = video.read(path)
    content = path.read_bytes()
    upright, quarter = ((1, 0, 0, 0, 1, 0, 0, 0), (0, 1, 0, -1, 0, 0, 0, 0))
    one, other = (
        struct.pack(">9i", *(x << 16 for x in matrix), 1 << 30) for matrix in (upright, quarter)
    )
    head = content.index(b"tkhd")
    path.write_bytes(content[:head] + content[head:].replace(one, other, 1))
    np.testing.assert_array_equal(video.read(path), np.rot90(whole, -1, (1, 2)))


def noise(count):
    return np.random.default_rng(0).integers(0, 256, (count, H, W, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "codec", "words"),
    [
        ("a.mkv", "mpeg4", r"announces 6\.00 s, but its \d+ frames end at .* cut off"),
        ("a.webm", "libvpx", r"announces 6\.00 s, but its \d+ frames end at .* cut off"),
        ("a.mp4", "mpeg4", "is damaged"),
        ("a.mov", "mpeg4", "is damaged"),
        ("a.avi", "mpeg4", "is damaged after .* expected whole ones"),
        ("a.gif", "gif", "is damaged after"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_video_that_is_cut_off_is_not_taken_for_a_short_one(name, codec, words, tmp_path):
    path, count = tmp_path / name, 60
    if codec == "gif":
        write_gif(path, noise(count))
    else:
        write_mp4(path, noise(count), codec=codec)
    assert len(video.read(path)) == count
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises((UserError, UserWarning), match=words):
        video.read(path)


def test_a_gif_that_is_cut_between_two_frames(tmp_path):
    path = write_gif(tmp_path / "a.gif", noise(20))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="20 frames, but no end: it seems to be cut off"):
        assert len(video.read(path)) == 20


def test_crop_size_and_colour(tmp_path):
    frames = np.zeros((3, H, W, 3), np.uint8)
    frames[:, 2:6, 4:12, 0] = 200
    folder = write_folder(tmp_path / "run", frames)
    found = video.read(folder, video.FrameTransform(crop=(2, 4, 4, 8), size=(2, 4), channels=3))
    assert found.shape == (3, 2, 4, 3)
    np.testing.assert_array_equal(found[0, 0, 0], [200, 0, 0])
    # Resizing takes the mean, so half of a pixel's light stays.
    half = video.read(folder, video.FrameTransform(crop=(0, 4, 4, 8), size=(1, 1), channels=3))
    np.testing.assert_array_equal(half[0, 0, 0], [100, 0, 0])
    with pytest.raises(UserError, match=r"--crop=0,10,4,8 .* 12x16"):
        video.read(folder, video.FrameTransform(crop=(0, 10, 4, 8)))


def test_bad_files_give_one_line(tmp_path):
    folder = write_folder(tmp_path / "run", frames_of(3))
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"1\.png is damaged"):
        video.read(folder)
    Image.fromarray(frames_of(1)[0, :5]).save(folder / "1.png")
    with pytest.raises(UserError, match=r"1\.png is 5x16, expected 12x16"):
        video.read(folder)
    path = write_mp4(tmp_path / "a.mp4", frames_of(50))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"a\.mp4 is damaged"):
        video.read(path)
    path = tmp_path / "empty.gif"
    path.write_bytes(b"GIF89a" + bytes([1, 0, 1, 0, 0, 0, 0]) + b";")
    with pytest.raises(UserError, match=r"empty\.gif"):
        video.read(path)
    for name, words in (("none.mp4", "does not exist"), ("a.txt", "no video")):
        (tmp_path / "a.txt").write_text("hello")
        with pytest.raises(UserError, match=words):
            video.read(video.find(tmp_path / name)[0])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="holds no video"):
        video.find(tmp_path / "nothing")


def test_memory_is_bounded(tmp_path):
    folder = write_folder(tmp_path / "all" / "run", frames_of(60))
    most = 59 * H * W / 2**30
    with pytest.raises(UserError, match="--max_memory is .*--frame_size"):
        video.read(folder, max_memory=most)
    small = video.FrameTransform(size=(4, 4))
    assert len(video.read(folder, small, most)) == 60
    # Several videos, and windows that overlap, count together.
    write_folder(tmp_path / "all" / "more", frames_of(60))
    enough = 130 * H * W / 2**30
    with pytest.raises(UserError, match="expected fewer videos"):
        load(tmp_path / "all", 0, max_memory=100 * H * W / 2**30)
    with pytest.raises(UserError, match="larger --stride"):
        load(tmp_path / "all", 0, max_memory=enough, window=4, stride=1)
    assert load(tmp_path / "all", 0, max_memory=enough, window=4).train.num_steps == 4


def test_one_video_is_cut_in_time(tmp_path):
    frames = frames_of(100)
    write_folder(tmp_path / "run", frames)
    splits = load(tmp_path / "run", 0, window=8, stride=4)
    for part, first, last in zip(splits, (0, 80, 90), (80, 90, 100), strict=True):
        assert part.num_steps == 8
        assert part.observed.all()
        np.testing.assert_array_equal(part.frames[0, :, ..., 0], frames[first : first + 8])
        np.testing.assert_array_equal(part.frames[-1, :, ..., 0], frames[last - 8 : last])


def test_many_videos_are_dealt_out_whole_and_padded(tmp_path):
    lengths = [5, 9, 7, 6, 5, 8, 9, 4, 3, 6, 7]
    for i, length in enumerate(lengths):
        write_folder(tmp_path / "all" / f"run{i}", frames_of(length, i))
    splits = load(tmp_path / "all", 0)
    assert [len(part) for part in splits] == [9, 1, 1]
    assert {part.num_steps for part in splits} == {9}
    found = sorted(int(n) for part in splits for n in part.observed.sum(1))
    assert found == sorted(lengths)
    for part in splits:
        hidden = part.observed == 0
        assert not part.frames[hidden].any()


def test_annotations(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("frame,push,observed,pull\n0,1.5,1,0\n1,2,0,-1\n2,3,1,-2\n")
    found = annotations.read(path, {"a.mp4": 4})["a.mp4"]
    np.testing.assert_array_equal(found.controls, [[1.5, 0], [2, -1], [3, -2], [0, 0]])
    np.testing.assert_array_equal(found.observed, [1, 0, 1, 1])
    path.write_text("video,frame,u\nb,0,1\na,0,2\na,1,3\n")
    found = annotations.read(path, {"a": 3, "b": 1})
    np.testing.assert_array_equal(found["a"].controls[:, 0], [2, 3, 0])
    np.testing.assert_array_equal(found["b"].controls[:, 0], [1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,u\n0,1\n", "expected also frame"),
        ("frame,u\n0,1\n1,2\n", r"no row for frame 2 of a.*4 frames"),
        ("frame,u\n0,1\n1,x\n", "line 3: u is 'x'"),
        ("frame,u\n0,1\n7,2\n", "frame is 7, expected 0 to 3"),
        ("frame,u\n0,1\n1\n", "line 3: expected 2 entries"),
        ("frame,observed\n0,2\n", "observed is 2, expected 0 or 1"),
        ("frame,u,u\n0,1,1\n", "column twice"),
        ("", "has the columns none"),
    ],
)
def test_bad_annotations_give_one_line(text, words, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        annotations.read(path, {"a": 4})


def test_a_single_video_finds_its_rows_among_others(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("video,frame,u\na,0,1\nb,0,5\nb,1,6\na,1,2\n")
    found = annotations.read(path, {"b": 2})
    np.testing.assert_array_equal(found["b"].controls, [[5], [6]])
    with pytest.raises(UserError, match="there is no video 'a'"):
        annotations.read(path, {"c": 2})


def test_annotations_of_several_videos_name_them(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("frame,u\n0,1\n")
    with pytest.raises(UserError, match="expected also video"):
        annotations.read(path, {"a": 1, "b": 1})


def test_too_short_a_video(tmp_path):
    write_folder(tmp_path / "run", frames_of(6))
    with pytest.raises(UserError, match="6 frames, too few for a validation part"):
        load(tmp_path / "run", 0, window=4)


def test_hdf5_as_npz(tmp_path):
    import h5py

    images = RNG.random((20, 5, 6, 6)).astype(np.float32)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["images"], file["states"] = images, images[:, :, 0, :2]
        file["state_names"] = ["x", "y"]
    np.savez(tmp_path / "a.npz", images=images, states=images[:, :, 0, :2], state_names=["x", "y"])
    for one, two in zip(load(path, 3), load(tmp_path / "a.npz", 3), strict=True):
        np.testing.assert_array_equal(one.frames, two.frames)
        np.testing.assert_array_equal(one.states, two.states)
        assert one.state_names == two.state_names
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"a\.h5 is damaged"):
        load(path, 3)
